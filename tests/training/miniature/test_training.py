"""Tokenizer, loop and stages: each toy run resumes to bit-equal weights, and the chain ends in a loadable folder."""

import contextlib
import inspect

import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from diffusers import StableDiffusionXLPipeline

from training.miniature import train
from training.miniature.judges.stage import train_judges
from training.miniature.optimization.muon import COEFFICIENTS, NEWTON_SCHULZ_STEPS, Muon, orthogonalised
from training.miniature.stages import adapter, autoencoder, base, encoders, relation_loras, towers, training_loop
from training.miniature.stages.training_loop import Trainer, TrainingPlan
from training.miniature.world.captions import world_words
from training.miniature.world.tokenizer import tokenize, write_tokenizer

TOY_SCENES = 8


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A root folder in which every stage has run for two steps, without sample sheets."""
    root = tmp_path_factory.mktemp("miniature")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "measure", lambda vae, rng: {})
        patch.setattr(autoencoder, "reconstruct", lambda vae, images: images)
        patch.setattr(base, "SAMPLE_PROMPTS", base.SAMPLE_PROMPTS[:1])
        patch.setitem(base.GUIDANCE, "num_inference_steps", 2)
        patch.setattr(adapter, "sample_sheet", lambda *arguments: None)
        run_stages(root)
        yield root


def run_stages(root, only=None, seconds=0.0):
    def plan(ema_decay=0.9):
        return TrainingPlan(
            2, ema_decay=ema_decay, warmup_steps=1, checkpointing_steps=1, sample_steps=100, max_train_seconds=seconds
        )

    stages = {
        "vae": lambda: autoencoder.train_vae(root / "vae", plan(0.0), contextlib.nullcontext, 8),
        "encoders": lambda: encoders.train_encoders(
            root / "encoders", plan(0.0), contextlib.nullcontext, batch=4, checked=4
        ),
        "base": lambda: base.train_base(root, plan(), contextlib.nullcontext, scenes=TOY_SCENES, batch=2),
        "adapter": lambda: adapter.train_adapter(
            root / "base" / "pipeline",
            root / "encoders" / "image_encoder",
            root / "adapter",
            plan(),
            contextlib.nullcontext,
            scenes=TOY_SCENES,
            batch=2,
        ),
        "decoder": lambda: autoencoder.train_decoder(root, plan(0.0), contextlib.nullcontext),
    }
    return [stages[name]() for name in stages if only in (None, name)]


@pytest.mark.parametrize("stage", ("vae", "encoders", "base", "adapter", "decoder"))
def test_a_killed_stage_resumes_to_the_same_weights(chain, stage, monkeypatch):
    file = chain / stage / "checkpoint.pt"
    unbroken = torch.load(file, weights_only=True)
    file.unlink()
    with monkeypatch.context() as patch:
        clock = iter((0.0, 0.0))  # at the start, before the first step, and then an hour later
        patch.setattr(training_loop.time, "monotonic", lambda: next(clock, 3600.0))
        assert run_stages(chain, stage, seconds=60) == [False], "the first run was to stop after its first step"
    assert torch.load(file, weights_only=True)["step"] == 1
    assert run_stages(chain, stage) == [True]
    resumed = torch.load(file, weights_only=True)
    assert resumed["step"] == unbroken["step"] == 2
    for name, weight in (unbroken["average"] or {}).items():
        assert torch.equal(weight, resumed["average"][name]), name
    for key, weights in unbroken["modules"].items():
        for name, weight in weights.items():
            assert torch.equal(weight, resumed["modules"][key][name]), f"{key}.{name}"


def test_a_run_killed_while_it_writes_its_result_writes_it_when_it_is_started_again(tmp_path):
    """The last call of `after_interval` saves the model; a checkpoint written before would hide that it failed."""
    plan, calls = TrainingPlan(3, warmup_steps=1, checkpointing_steps=1, sample_steps=2), []

    def run(killed_at=None):
        layer = torch.nn.Linear(2, 2)

        def after_interval(step):
            if step == killed_at:
                raise KeyboardInterrupt
            calls.append((step, layer.weight.detach().clone()))

        return Trainer({"a": layer}, plan, tmp_path).run(
            lambda step, rng: (layer(torch.ones(2)).sum(), {}), after_interval
        )

    with pytest.raises(KeyboardInterrupt):
        run(killed_at=3)
    assert run() and [step for step, _ in calls] == [2, 3]
    assert run() and len(calls) == 2, "a finished run does not write again"


def test_another_stage_s_state_is_refused(tmp_path):
    """A checkpoint of other modules, or of other parameter groups, says what to do."""
    plan = TrainingPlan(max_train_steps=1)
    Trainer({"a": torch.nn.Linear(2, 2)}, plan, tmp_path).save()
    refusal = r"(?s)checkpoint\.pt does not fit what trains here: .*a new output folder"
    for modules in ({"b": torch.nn.Linear(2, 2)}, {"a": torch.nn.Linear(3, 2)}, {"a": torch.nn.LayerNorm(2)}):
        with pytest.raises(ValueError, match=refusal):
            Trainer(modules, plan, tmp_path)


def test_the_stock_pipeline_draws_with_it(chain):
    pipeline = StableDiffusionXLPipeline.from_pretrained(chain / "base" / "pipeline")
    pictures = base.generate(pipeline, ["a red cat is hugging a blue bear at night"], num_inference_steps=2)
    assert pictures.shape == (1, 128, 128, 3)
    assert (
        pipeline.scheduler.config.prediction_type == "v_prediction" and pipeline.scheduler.config.rescale_betas_zero_snr
    )


def test_folding_normalises_latents_and_changes_no_picture():
    torch.manual_seed(0)
    vae, images = autoencoder.build_autoencoder().eval(), torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        before = vae.decode(vae.encode(images).latent_dist.mode()).sample
        autoencoder.fold_latent_statistics(vae, images)
        latents = vae.encode(images).latent_dist.mode()
        after = vae.decode(latents).sample
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(8), atol=1e-4)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(8), atol=1e-4)


def test_the_tokenizer_covers_every_byte_and_every_word(tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    vocabulary = tokenizer.get_vocab()
    text = bytes(range(256)).decode("latin-1") + " 雪だるま 🐻 naïve"
    ids = tokenizer(text).input_ids
    assert ids.count(tokenizer.eos_token_id) == 1, "an unknown token would have become the end token"
    assert len(vocabulary) == len(set(vocabulary.values())) and tokenizer.eos_token_id == len(tokenizer) - 1
    for word in world_words():
        assert len(tokenizer(word).input_ids) == 3, word
    # A byte is covered when its stand-in is there both inside a word and at its end.
    from training.miniature.world.tokenizer import byte_characters

    assert len(set(byte_characters())) == 256
    assert all(character in vocabulary and character + "</w>" in vocabulary for character in byte_characters())


def test_text_pools_at_the_end_token(tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    torch.manual_seed(0)
    for encoder in encoders.build_text_encoders(len(tokenizer)):
        encoder.eval()
        ids = tokenize(tokenizer, ["a red cat is standing"])
        end = ids[0].tolist().index(tokenizer.eos_token_id)
        with torch.no_grad():
            output = encoder(ids, output_hidden_states=True)
        pooled = output[0] if "Projection" in type(encoder).__name__ else output.pooler_output
        final = encoder.text_model.final_layer_norm if hasattr(encoder, "text_model") else encoder.final_layer_norm
        expected = final(output.hidden_states[-1])[:, end]
        if "Projection" in type(encoder).__name__:
            expected = encoder.text_projection(expected)
        assert torch.allclose(pooled, expected, atol=1e-5)


@pytest.mark.parametrize("rows, columns", [(8, 8), (8, 72), (1, 5)])
def test_muons_steps_on_the_gram_matrix_are_those_on_the_weight(rows, columns):
    wide = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b, c = COEFFICIENTS
    x = wide / wide.norm()
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    several = torch.stack([100 * wide, torch.ones_like(wide)])  # the other matrix of the batch changes nothing
    torch.testing.assert_close(orthogonalised(several)[0].double(), x, rtol=0, atol=2e-5)


def test_muon_moves_along_orthogonal_directions():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(8, 16))
    weight.grad = torch.randn(8, 16)
    Muon([weight], lr=1.0, weight_decay=0.0).step()
    singular = torch.linalg.svdvals(weight.detach())
    assert singular.min() > 0.5 and singular.max() < 1.5  # Newton-Schulz stops near, not at, one


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (4, 3, 3, 3), (12, 1, 2, 2)])
def test_weights_of_one_shape_move_as_each_alone_would(shape):
    """For several steps, and beside a weight without a gradient."""
    torch.manual_seed(0)
    start, gradients = torch.randn(3, *shape), torch.randn(4, 3, *shape)
    together = [torch.nn.Parameter(one.clone()) for one in start]
    alone = [torch.nn.Parameter(one.clone()) for one in start]
    optimizers = [Muon([*together, torch.nn.Parameter(torch.ones(shape))]), *(Muon([weight]) for weight in alone)]
    for step in gradients:
        for weights in (together, alone):
            for weight, gradient in zip(weights, step):
                weight.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert (together[0] - start[0]).abs().max() > 0.01
    for one, other in zip(together, alone):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_precision_is_named_or_the_faster_one_of_the_machine(monkeypatch):
    assert training_loop.faster_precision("cpu") in ("bf16", "no")
    for faster, chosen, expected in (("no", None, None), ("bf16", None, torch.bfloat16), ("bf16", "no", None)):
        monkeypatch.setattr(training_loop, "faster_precision", lambda where, faster=faster: faster)
        with training_loop.mixed_precision(chosen, "cpu")():
            made = torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype
        assert made == (expected or torch.float32)


def test_a_rehearsal_gives_every_stage_sizes_that_it_knows(monkeypatch, tmp_path):
    stages = {
        "vae": autoencoder.train_vae, "encoders": encoders.train_encoders, "base": base.train_base,
        "local_encoder": towers.distil, "adapter": adapter.train_adapter, "judges": train_judges,
        "relation_loras": relation_loras.train_relation_loras,
    }  # fmt: skip
    assert stages.keys() == train.TOY.keys() and stages.keys() < set(train.STAGES)
    for name, function in stages.items():
        inspect.signature(function).bind_partial(**train.TOY[name])
    asked = []
    monkeypatch.setattr(train, "run_stage", lambda *given, **options: asked.append((given, options)))
    train.main(["all", "--toy", "--output_dir", str(tmp_path)])
    with pytest.raises(ValueError, match=r"another rehearsal \(True, now False\)"):
        train.main(["vae", "--output_dir", str(tmp_path)])
    train.main(["vae", "--output_dir", str(tmp_path / "other")])
    assert [given[0] for given, _ in asked] == [*train.STAGES, "vae"]
    assert [given[2].get("max_train_steps") for given, _ in asked] == [2] * len(train.STAGES) + [None]
    assert [options["toy"] for _, options in asked] == [True] * len(train.STAGES) + [False]


@pytest.mark.parametrize("toy", [False, True])
def test_a_batch_reaches_the_stages_that_take_one(monkeypatch, tmp_path, toy):
    given = {}
    functions = {"encoders": encoders, "base": base, "adapter": adapter, "vae": autoencoder}
    for name, module in functions.items():
        monkeypatch.setattr(module, f"train_{name}", lambda *args, name=name, **sizes: given.update({name: sizes}))
    for name in functions:
        train.run_stage(name, tmp_path, {}, "no", batch=7, toy=toy)
    assert {name: sizes.get("batch") for name, sizes in given.items()} == {
        **dict.fromkeys(train.BATCHED, 7), "vae": None,
    }  # fmt: skip
