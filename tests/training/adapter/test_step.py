import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from relationbooth_pipeline.relation_attention import install_parallel_attention
from relationbooth_pipeline.triplets import read_triplets
from tests.tiny import tiny_adapter, tiny_pipeline, tiny_unet
from tests.tiny_training import save_triplets
from training.adapter.samples import collate, encode_conditions, encode_view
from training.adapter.step import Dropouts, draw_dropped, initialise_from_text, predict
from training.common.batch_order import Draw
from training.common.options import ViewOptions

NOTHING, EVERYTHING = Dropouts(0, 0, 0, 0), Dropouts(0, 0, 1, 1)


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_pipeline()
    pipe.unet.requires_grad_(False)
    return pipe


@pytest.fixture(scope="module")
def triplets(tmp_path_factory):
    return read_triplets(save_triplets(tmp_path_factory.mktemp("triplets"), sizes=((64, 64),) * 3, counts=(2, 1, 2)))


@pytest.fixture(scope="module")
def samples(pipe, triplets):
    return [
        {**encode_conditions(pipe, triplet), **encode_view(pipe, triplet, ViewOptions(64, center_crop=True), None)}
        for triplet in triplets
    ]


@pytest.fixture
def batch(samples):
    return collate(samples, "cpu")


def answer(pipe, batch, dropped=None, seed=0):
    """The UNet's output for a batch, with noise that depends on the sample's place only."""
    count = len(batch["present"])
    noisy = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    dropped = NOTHING.draw(count) if dropped is None else dropped
    return predict(pipe.unet, pipe.relation_adapter, batch, noisy, torch.full((count,), 500), dropped)


def dropping(count, image=False, text=False, grounding=False):
    return tuple(torch.full((count,), value) for value in (not image, not text, grounding))


def test_dropouts_have_their_shares():
    torch.manual_seed(0)
    chances = Dropouts(image=0.1, text=0.2, both=0.3, grounding=0.4)
    keep_image, keep_text, drop_grounding = chances.draw(40_000)
    shares = [(~keep_image & keep_text), (keep_image & ~keep_text), (~keep_image & ~keep_text), drop_grounding]
    torch.testing.assert_close(
        torch.stack([share.float().mean() for share in shares]), torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.01, rtol=0
    )
    both = (drop_grounding & ~keep_image & ~keep_text).float().mean()
    assert abs(both - 0.12) < 0.01  # independent of what else is dropped
    assert [tensor.all().item() for tensor in NOTHING.draw(1000)] == [True, True, False]
    assert [tensor.any().item() for tensor in EVERYTHING.draw(1000)] == [False, False, True]


def test_what_is_dropped_depends_on_the_samples_own_draw():
    draws, chances = [Draw(0, 0, seed) for seed in range(40)], Dropouts(0.2, 0.2, 0.2, 0.5)
    together = draw_dropped(chances, draws)
    alone = [torch.cat(column) for column in zip(*(draw_dropped(chances, [draw]) for draw in draws))]
    assert all(torch.equal(a, b) for a, b in zip(together, alone))
    assert all(0 < tensor.sum() < 40 for tensor in together)


def test_nothing_dropped_is_inference(pipe, triplets, samples):
    """At γ = 1, for a batch whose samples have as many objects as each other or not."""
    for triplet, sample in zip(triplets, samples):
        batch = collate([sample], "cpu")
        noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        text, _, pooled, _ = pipe.encode_prompt(triplet.prompt, do_classifier_free_guidance=False)
        conditioning = pipe.image_prompt_kwargs(
            triplet.image_prompts, triplet.phrases, boxes=triplet.boxes.tolist(), image_prompt_scale=1.0,
            latent_height=8, latent_width=8, roles=("conditional",),
        )  # fmt: skip
        expected = pipe.unet(
            noisy, 500, text, cross_attention_kwargs=conditioning,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])},
        ).sample  # fmt: skip
        torch.testing.assert_close(answer(pipe, batch), expected, atol=1e-5, rtol=1e-5)


def test_a_batch_equals_its_samples_alone(pipe, samples, batch):
    together = answer(pipe, batch)
    for index, sample in enumerate(samples):
        alone = answer(pipe, collate([sample] * 3, "cpu"))[index]
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=0)


def test_dropped_image_prompts_are_not_seen(pipe, batch):
    dropped = dropping(3, image=True)
    other = {**batch, "image_tokens": batch["image_tokens"] + 1, "local_tokens": batch["local_tokens"] + 1}
    assert torch.equal(answer(pipe, batch, dropped), answer(pipe, other, dropped))
    assert not torch.allclose(answer(pipe, batch), answer(pipe, other))
    zeros = {**batch, **{name: torch.zeros_like(batch[name]) for name in ("image_tokens", "local_tokens")}}
    assert torch.equal(answer(pipe, batch, dropped), answer(pipe, zeros))


def test_dropped_text_is_zeros(pipe, batch):
    zeros = {**batch, **{name: torch.zeros_like(batch[name]) for name in ("context", "pooled")}}
    assert torch.equal(answer(pipe, batch, dropping(3, text=True)), answer(pipe, zeros))
    assert not torch.allclose(answer(pipe, batch), answer(pipe, zeros))


def test_dropped_grounding_reads_no_phrase(pipe, batch):
    other, dropped = {**batch, "phrase_embeds": batch["phrase_embeds"] + 1}, dropping(3, grounding=True)
    assert torch.equal(answer(pipe, batch, dropped), answer(pipe, other, dropped))
    assert not torch.allclose(answer(pipe, batch), answer(pipe, other))


def test_only_the_samples_that_drop_change(pipe, batch):
    dropped = tuple(torch.tensor(column) for column in ([True, False, True], [True] * 3, [False] * 3))
    differs = (answer(pipe, batch, dropped) != answer(pipe, batch)).flatten(1).any(1)
    assert differs.tolist() == [False, True, False]


def test_without_any_object_it_is_the_plain_unet(pipe, batch):
    absent = {**batch, "present": torch.zeros_like(batch["present"])}
    plain = tiny_unet()
    plain.set_attn_processor(AttnProcessor2_0())
    expected = plain(
        torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)), 500, batch["context"],
        added_cond_kwargs={"text_embeds": batch["pooled"], "time_ids": batch["time_ids"]},
    ).sample  # fmt: skip
    torch.testing.assert_close(answer(pipe, absent), expected, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(answer(pipe, batch), expected)


def test_gradients_reach_the_whole_adapter_and_nothing_else(pipe, batch):
    """Also when the UNet computes its activations twice."""
    adapter, found = pipe.relation_adapter, []
    for checkpointing in (False, True):
        adapter.zero_grad()
        if checkpointing:
            pipe.unet.enable_gradient_checkpointing()
        dropped = (torch.tensor([True, True, False]), torch.ones(3).bool(), torch.tensor([False, True, False]))
        answer(pipe, batch, dropped).square().mean().backward()
        found.append({name: weight.grad for name, weight in adapter.named_parameters() if weight.grad is not None})
    pipe.unet.disable_gradient_checkpointing()
    assert found[0].keys() == {name for name, _ in adapter.named_parameters()} - {"background_tokens"}
    assert all(gradient.any() for gradient in found[0].values())
    assert all(torch.equal(gradient, found[1][name]) for name, gradient in found[0].items())
    frozen = (pipe.unet, pipe.text_encoder, pipe.text_encoder_2, pipe.vae, pipe.image_prompt_encoder)
    assert all(weight.grad is None for model in frozen for weight in model.parameters())


@pytest.mark.parametrize("dropped", [{}, {"image": True}, {"text": True}, {"grounding": True}])
def test_every_weight_has_a_gradient_whatever_is_dropped(pipe, batch, dropped):
    """Zeros count: data-parallel training waits for them."""
    pipe.relation_adapter.zero_grad()
    answer(pipe, batch, dropping(3, **dropped)).square().mean().backward()
    without = {name for name, weight in pipe.relation_adapter.named_parameters() if weight.grad is None}
    assert without == {"background_tokens"}


def test_image_keys_and_values_start_as_the_texts():
    unet = tiny_unet()
    install_parallel_attention(unet)
    adapter = tiny_adapter(unet)
    initialise_from_text(adapter, unet)
    for path, layer in zip(adapter.config.layer_widths, adapter.layers.values()):
        attention = unet.get_submodule(path)
        assert torch.equal(layer.to_k.weight, attention.to_k.weight)
        assert torch.equal(layer.to_v.weight, attention.to_v.weight)
        layer.to_k.weight.data.zero_()  # a copy: the UNet keeps its own
        assert attention.to_k.weight.any()
