"""Adapter training as a user runs it, on tiny models: stopped, resumed, from kept encodings, refused."""

import json
import shutil

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from relationbooth_pipeline import RelationAdapter
from tests.tiny import photo, tiny_pipeline
from tests.training.conftest import ADAPTER_STEPS, adapter_arguments
from tests.training.programs import (
    Refusal,
    assert_same_bits,
    finish,
    one_byte_more,
    refuse_loading,
    refused,
    start_two,
    terminate_in,
)
from training import train_relation_adapter_sdxl as script
from training.adapter import samples as adapter_samples
from training.common import run_pictures
from training.common.checkpoints import Checkpoints

PROGRAM = "train_relation_adapter_sdxl"
WEIGHTS = "diffusion_pytorch_model.safetensors"
NEW = ("image_prompt_size", "local_image_size", "local_grid", "image_encoder", "local_image_encoder")
NEW += tuple(f"resampler_{name}" for name in ("dim", "depth", "heads", "dim_head", "num_queries"))
EXISTING = dict.fromkeys(NEW)  # leaves these flags out
# Adam's step is almost the gradient then, and not its sign, which rounding decides where a gradient is near zero.
SMALL_STEPS = {"adam_epsilon": 1.0, "learning_rate": 1.0, "max_grad_norm": 1e9, "adam_weight_decay": 0.0,
               "lr_scheduler": "constant"}  # fmt: skip


def assert_close(folder, other):
    expected, found = load_file(other / WEIGHTS), load_file(folder / WEIGHTS)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-4)


def test_what_a_run_leaves(adapter_run, base):
    config = RelationAdapter.load_config(adapter_run)
    assert (config["local_grid"], config["image_prompt_size"], config["local_image_size"]) == (2, 64, 112)
    names = {path.name for path in adapter_run.iterdir()}
    assert names == {
        "config.json", WEIGHTS, "image_encoder", "local_image_encoder", "training_arguments.json", "loss.png",
        "checkpoint-1", "checkpoint-2",
    }  # fmt: skip
    for encoder in ("image_encoder", "local_image_encoder"):
        ours, theirs = (folder / encoder / "model.safetensors" for folder in (adapter_run, base / "relation_adapter"))
        assert all(torch.equal(load_file(ours)[name], tensor) for name, tensor in load_file(theirs).items())


def test_the_folder_loads_and_draws(adapter_run):
    pipe = tiny_pipeline(adapter=False)
    options = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "pt"}

    def draw(**prompts):
        generator = torch.Generator().manual_seed(0)
        return pipe("a cat and a bear", generator=generator, **prompts, **options).images

    without = draw()
    pipe.load_relation_adapter(adapter_run)
    assert not torch.equal(draw(image_prompts=[photo(0), photo(1)], phrases=["cat", "bear"]), without)
    assert torch.equal(draw(), without)


def test_only_the_adapter_moves(base, triplets, tmp_path, monkeypatch):
    seen, load = {}, script.add_adapter

    def spy(pipe, args):
        adapter = load(pipe, args)
        models = {name: model for name, model in pipe.components.items() if isinstance(model, torch.nn.Module)}
        seen["pipe"] = pipe
        seen["before"] = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in models.items()}
        return adapter

    monkeypatch.setattr(script, "add_adapter", spy)
    changes = {"lr_scheduler": "constant", "local_injection": "linear"}
    script.main(adapter_arguments(base, triplets, tmp_path, **changes))
    assert RelationAdapter.load_config(tmp_path)["resampler_config"]["local_injection"] == "linear"
    for name, state in seen["before"].items():
        now = getattr(seen["pipe"], name).state_dict()
        moved = {key for key in state if not torch.equal(state[key], now[key])}
        expected = set(state) - {"background_tokens"} if name == "relation_adapter" else set()
        assert moved == expected, name


def test_kept_encodings_change_no_bit_and_are_read_again(adapter_run, base, triplets, tmp_path, monkeypatch):
    """Nor does gradient checkpointing. The second run asks no encoder."""
    same = {"encodings_dir": tmp_path / "encodings", "gradient_checkpointing": True}
    script.main(adapter_arguments(base, triplets, tmp_path / "one", **same))
    assert_same_bits(tmp_path / "one", adapter_run, WEIGHTS)
    files = sorted((tmp_path / "encodings").iterdir())
    assert len(files) == 3 and {file.suffix for file in files} == {".safetensors"}

    monkeypatch.setattr(adapter_samples, "encode_conditions", refuse_loading)
    script.main(adapter_arguments(base, triplets, tmp_path / "two", **same))
    assert_same_bits(tmp_path / "two", adapter_run, WEIGHTS)
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SystemExit, match="cannot be read .* Delete it and start again"):
        script.main(adapter_arguments(base, triplets, tmp_path / "three", **same))


def test_sigterm_saves_and_a_resumed_run_ends_with_the_same_bits(adapter_run, base, triplets, tmp_path, monkeypatch):
    flags = adapter_arguments(base, triplets, tmp_path, checkpointing_steps=100)
    terminate_in(script, "denoising_loss", flags, monkeypatch)
    assert Checkpoints(tmp_path).resume("latest") == 1 and not (tmp_path / "config.json").exists()
    script.main([*flags, "--resume_from_checkpoint", "latest"])
    assert_same_bits(tmp_path, adapter_run, WEIGHTS)


def test_accumulated_halves_equal_one_batch(base, triplets, tmp_path):
    same = {**SMALL_STEPS, "max_train_steps": 1, "snr_gamma": 5.0, "encodings_dir": tmp_path / "encodings"}
    script.main(adapter_arguments(base, triplets, tmp_path / "one", **same))
    halves = {"train_batch_size": 1, "gradient_accumulation_steps": 2}
    script.main(adapter_arguments(base, triplets, tmp_path / "two", **same, **halves))
    assert_close(tmp_path / "two", tmp_path / "one")


def test_two_processes_equal_one_with_twice_the_batch(base, triplets, tmp_path):
    """From encodings that they share."""
    same = {**SMALL_STEPS, "max_train_steps": 1, "train_batch_size": 1, "encodings_dir": tmp_path / "encodings"}
    script.main(adapter_arguments(base, triplets, tmp_path / "one", **{**same, "train_batch_size": 2}))
    for file in (tmp_path / "encodings").iterdir():
        file.unlink()
    assert "processes: 2" in finish(*start_two(PROGRAM, adapter_arguments(base, triplets, tmp_path / "two", **same)))
    assert len(list((tmp_path / "encodings").iterdir())) == 3
    assert_close(tmp_path / "two", tmp_path / "one")


def test_bfloat16_with_validation_pictures(base, triplets, tmp_path, monkeypatch):
    """Frozen weights in bfloat16, the adapter in float32; training goes on after the pictures."""
    monkeypatch.setattr(run_pictures, "VALIDATION_STEPS", 2)
    validation = {"validation_prompt": "a cat is hugging a bear", "num_validation_images": 1, "validation_steps": 1}
    AcceleratorState._reset_state(True)  # accelerate keeps one precision for each process
    try:
        script.main(adapter_arguments(base, triplets, tmp_path, mixed_precision="bf16", **validation))
    finally:
        AcceleratorState._reset_state(True)
    assert {tensor.dtype for tensor in load_file(tmp_path / WEIGHTS).values()} == {torch.float32}
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "validation").iterdir()}
    assert len(pictures) == 4 and pictures["step_2_with_0.png"] != pictures["step_2_without_0.png"]


def test_the_adapter_is_written_before_the_last_validation(adapter_run, base, triplets, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "draw_pictures", refuse_loading)  # out of memory, or a full disk
    with pytest.raises(Refusal):
        script.main(adapter_arguments(base, triplets, tmp_path, validation_prompt="a cat is hugging a bear"))
    assert_same_bits(tmp_path, adapter_run, WEIGHTS)


def test_it_starts_from_an_existing_adapter(base, triplets, tmp_path):
    """At learning rate 0 it stays what it was; without local tokens its config says so."""
    changes = {**EXISTING, "relation_adapter": base / "relation_adapter", "max_train_steps": 1, "learning_rate": 0}
    script.main(adapter_arguments(base, triplets, tmp_path, **{**changes, "local_image_encoder": "none"}))
    assert_same_bits(tmp_path, base / "relation_adapter", WEIGHTS)
    assert json.loads((tmp_path / "config.json").read_text())["local_grid"] == 0
    assert not (tmp_path / "local_image_encoder").exists()
    tiny_pipeline(adapter=False).load_relation_adapter(tmp_path)


def test_a_loss_that_is_not_finite_names_step_and_sample(base, triplets, tmp_path, monkeypatch):
    encode = adapter_samples.encode_view

    def poisoned(pipe, triplet, *arguments, **options):
        view = encode(pipe, triplet, *arguments, **options)
        return view if triplet.name != "line 3" else {**view, "latent_mean": view["latent_mean"] * float("nan")}

    monkeypatch.setattr(adapter_samples, "encode_view", poisoned)
    with pytest.raises(
        SystemExit, match=r"the loss of step \d is not finite for line 3\. The weights before it are in"
    ):
        script.main(adapter_arguments(base, triplets, tmp_path))
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_encoder": None}, "`--image_encoder` must name a folder or repository for a new adapter."),
        ({"local_image_encoder": None}, "or none to do without local tokens."),
        ({"local_image_encoder": "none"}, "`--local_grid` needs local tokens"),
        ({"relation_adapter": "x"}, "belongs to a new adapter, `--relation_adapter` brings its own"),
        ({"image_dropout": 0.6, "text_dropout": 0.6}, "sum to at most 1"),
        ({"grounding_dropout": -0.1}, "`--grounding_dropout` must be in [0, 1], got"),
        ({"resampler_depth": 0}, "`--resampler_depth` must be at least 1, got 0."),
        ({"resolution": 100}, "`--resolution` must be a multiple of 8, at least 64, got 100."),
        ({"train_data_dir": "nowhere"}, "`nowhere` holds neither `metadata.jsonl` nor `prompts.json`"),
        ({"image_encoder": "nowhere"}, "`--image_encoder` must be a CLIP folder or repository, got `nowhere`"),
        ({"local_grid": 99}, "give at least 99 patches a side"),
        ({"validation_prompt": "a cat"}, "must name bear: its image prompts show them"),
        (
            {"validation_prompt": "a cat", "validation_images": "no.png", "validation_phrases": "cat"},
            "`--validation_images` must be readable pictures: no image file at `no.png`.",
        ),
        ({"encodings_dir": "/dev/null/x"}, "`--encodings_dir` must be a writable folder"),
        ({"resume_from_checkpoint": "checkpoint-7"}, "must be 'latest' or one of none"),
    ],
)
def test_bad_arguments_are_refused_before_any_model(base, triplets, tmp_path, capsys, monkeypatch, changes, message):
    monkeypatch.setattr(script, "load_base", refuse_loading)
    assert message in refused(script, adapter_arguments(base, triplets, tmp_path / "run", **changes), capsys)


def test_fewer_epochs_than_the_checkpoint_has_steps_are_refused(base, triplets, tmp_path, capsys):
    """Three triplets of two sizes, two a step."""
    flags = {"lr_scheduler": "constant", "max_train_steps": None, "train_batch_size": 3}
    script.main(adapter_arguments(base, triplets, tmp_path, **flags, num_train_epochs=2))
    (tmp_path / "config.json").unlink()
    fewer = adapter_arguments(base, triplets, tmp_path, **flags, num_train_epochs=1, resume_from_checkpoint="latest")
    assert "is beyond `--num_train_epochs` 1, which ends after step " in refused(script, fewer, capsys)
    assert not (tmp_path / "config.json").exists()


def test_another_run_in_the_folder_is_refused(adapter_run, base, triplets, capsys, monkeypatch):
    monkeypatch.setattr(script, "load_base", refuse_loading)
    assert "holds another run. Go on with it" in refused(script, adapter_arguments(base, triplets, adapter_run), capsys)
    other = adapter_arguments(base, triplets, adapter_run, text_dropout=0.5, resume_from_checkpoint="latest")
    assert "--text_dropout 0.05 → 0.5" in refused(script, other, capsys)
    assert Checkpoints(adapter_run).steps() == [1, ADAPTER_STEPS]


def test_other_pictures_and_weights_of_the_same_names_are_refused_on_resume(
    adapter_run, base, triplets, tmp_path, capsys, monkeypatch
):
    """The base model's own adapter is not among them: a new one trains, perhaps into that very folder."""
    monkeypatch.setattr(script, "load_base", refuse_loading)
    shutil.copytree(adapter_run, tmp_path / "run")
    flags = adapter_arguments(base, triplets, tmp_path / "run", resume_from_checkpoint="latest")
    for file, fact in (
        (triplets / "object_0_0.png", "picture"),
        (base / "unet" / WEIGHTS, "pretrained_model_name_or_path"),
        (base / "relation_adapter" / "image_encoder" / "model.safetensors", "image_encoder"),
        (base / "relation_adapter" / "local_image_encoder" / "model.safetensors", "local_image_encoder"),
    ):
        with one_byte_more(file):
            assert f"other arguments or data: {fact}_digest " in refused(script, flags, capsys)
    with one_byte_more(base / "relation_adapter" / WEIGHTS), pytest.raises(Refusal):  # accepted: models load
        script.main(flags)
