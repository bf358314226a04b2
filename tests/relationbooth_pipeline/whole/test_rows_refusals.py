"""Conditioning that does not fit the call is refused with numbers, never applied to other rows or places."""

import copy

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import photo, tiny_components, tiny_pipeline

PROMPT = "a cat is hugging a bear"


@pytest.fixture
def pipe():
    return tiny_pipeline()


def stock(pipe, kind=StableDiffusionXLPipeline):
    other = kind(**{name: pipe.components[name] for name in tiny_components()})
    other.set_progress_bar_config(disable=True)
    return other


def prepared(pipe, **changes):
    return pipe.image_prompt_kwargs(**{**TWO, "latent_height": 8, "latent_width": 8, **changes})


def test_kwargs_for_the_usual_halves_are_our_own_call(pipe):
    for guidance, roles in ((5.0, {}), (1.0, {"roles": ("conditional",)})):
        drawn = generate(stock(pipe), cross_attention_kwargs=prepared(pipe, **roles), guidance_scale=guidance)
        assert torch.equal(drawn, generate(pipe, **TWO, guidance_scale=guidance))


@pytest.mark.parametrize(
    "changes, call, message",
    [
        ({}, {"num_images_per_prompt": 3}, r"for 1 row .* 2 in all, but the UNet received 6"),
        ({"num_images_per_prompt": 2}, {}, r"for 2 rows .* 4 in all, but the UNet received 2"),
        # Two pictures without guidance look like two halves of one, but for their text.
        ({}, {"num_images_per_prompt": 2, "guidance_scale": 1.0}, "the unconditional and the conditional part read"),
        ({"roles": ("conditional",)}, {}, r"of each role \(conditional\), 1 in all, but the UNet received 2"),
        ({"latent_width": 16}, {"height": 128, "width": 64}, "8 × 16, but the UNet received 16 × 8"),
        ({"latent_height": 16, "latent_width": 16}, {}, "16 × 16, but the UNet received 8 × 8"),
    ],
)  # fmt: skip
def test_another_batch_or_size_is_refused(pipe, changes, call, message):
    with pytest.raises(ValueError, match=message):
        generate(stock(pipe), cross_attention_kwargs=prepared(pipe, **changes), **call)


def test_a_name_that_the_other_pipeline_would_swallow_is_refused(pipe):
    other = stock(pipe)
    for name, meant in (
        ("box", "boxes"),
        ("image_prompts_scale", "image_prompt_scale"),
        ("guidanc_scale", "guidance_scale"),
    ):
        with pytest.raises(ValueError, match=f"there is no argument `{name}`. Did you mean `{meant}`"):
            pipe.draw_through(other, PROMPT, **TWO, **{name: 1})


def test_another_unet_is_refused(pipe):
    own = stock(tiny_pipeline(adapter=False))
    for other in (own, tiny_pipeline()):
        with pytest.raises(ValueError, match="prepared for another UNet.*draw_through"):
            generate(other, cross_attention_kwargs=prepared(pipe))
    with pytest.raises(ValueError, match="prepared for another UNet"):
        pipe.draw_through(own, PROMPT, **TWO)
    pipe.unload_relation_adapter()
    assert not pipe.unet._forward_pre_hooks


def test_processors_replaced_after_preparation_are_noticed(pipe):
    kwargs = prepared(pipe)
    pipe.unet.set_attention_slice("auto")
    with pytest.raises(ValueError, match="SlicedAttnProcessor, which would ignore `image_prompts`"):
        generate(stock(pipe), cross_attention_kwargs=kwargs)


def test_arguments_of_draw_through_are_checked_first(pipe):
    other = stock(pipe, StableDiffusionXLImg2ImgPipeline)

    class Unknown(DiffusionPipeline):
        def __init__(self, unet):
            super().__init__()
            self.register_modules(unet=unet)

        def __call__(self, prompt, cross_attention_kwargs=None):
            return cross_attention_kwargs

    with pytest.raises(ValueError, match="of Unknown's batches read image prompts is not known. Say it with `roles`"):
        pipe.draw_through(Unknown(pipe.unet), PROMPT, **TWO)
    assert "ip_hidden_states" in pipe.draw_through(Unknown(pipe.unet), PROMPT, **TWO, roles=("conditional",))
    with pytest.raises(ValueError, match="each one of unconditional, conditional.*got .'negative',."):
        pipe.draw_through(Unknown(pipe.unet), PROMPT, **TWO, roles=("negative",))
    with pytest.raises(ValueError, match="`draw_through` needs `image_prompts`"):
        pipe.draw_through(other, PROMPT, image=photo(7, (64, 64)))
    with pytest.raises(ValueError, match="neither"):
        pipe.draw_through(other, image=photo(7, (64, 64)), **TWO)


def test_a_scale_for_each_block(pipe):
    whole, plain = generate(pipe, **TWO), generate(pipe)
    assert torch.equal(generate(pipe, **TWO, block_scales=1.0), whole)
    torch.testing.assert_close(generate(pipe, **TWO, block_scales={}), plain, atol=1e-4, rtol=1e-4)
    everywhere = {"down": 0.5, "mid": 0.5, "up": 0.5}
    half = generate(pipe, **TWO, image_prompt_scale=0.3)
    torch.testing.assert_close(generate(pipe, **TWO, block_scales=everywhere), half, atol=1e-5, rtol=1e-5)
    found = pipe.image_prompt_kwargs(
        **TWO, latent_height=8, latent_width=8, block_scales={"up": {"block_0": [0.0, 2.0]}}
    )
    base = prepared(pipe)["ip_hidden_states"].layers
    for width, layers in found["ip_hidden_states"].layers.items():
        paths = [p for p, w in sorted(pipe.relation_adapter.config.layer_widths.items()) if w == width]
        for i, path in enumerate(paths):
            factor = 2.0 if path.startswith("up_blocks.0.attentions.1") else 0.0
            torch.testing.assert_close(layers[:, i], torch.stack([base[width][0, i], factor * base[width][1, i]]))
    for unknown in ({"up": {"block_9": 1.0}}, {"upper": 1.0}):
        with pytest.raises(ValueError, match="must name blocks with cross-attention, down: block_1, mid"):
            generate(pipe, **TWO, block_scales=unknown)
    with pytest.raises(ValueError, match="`block_scales` must hold finite numbers, got nan"):
        generate(pipe, **TWO, block_scales=float("nan"))


def test_attention_slicing_leaves_image_prompts_alone(pipe):
    expected = generate(pipe, **TWO)
    pipe.enable_attention_slicing()
    torch.testing.assert_close(generate(pipe, **TWO), expected, atol=1e-4, rtol=1e-4)
    pipe.disable_attention_slicing()
    torch.testing.assert_close(generate(pipe, **TWO), expected, atol=1e-4, rtol=1e-4)


def test_fused_projections_and_default_processors_leave_image_prompts_alone(pipe):
    expected, plain = generate(pipe, **TWO), generate(pipe)
    pipe.fuse_qkv_projections()
    assert all(type(p).__name__.startswith("Fused") for p in pipe.unet.attn_processors.values())
    separate = {n: p for n, p in pipe.unet.named_parameters() if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    kept = {name: parameter.detach().clone() for name, parameter in separate.items()}
    for parameter in separate.values():
        parameter.data.zero_()  # the fused product alone is read
    torch.testing.assert_close(generate(pipe, **TWO), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(generate(pipe), plain, atol=1e-4, rtol=1e-4)
    for name, parameter in separate.items():
        parameter.data.copy_(kept[name])
    pipe.unfuse_qkv_projections()
    torch.testing.assert_close(generate(pipe, **TWO), expected, atol=1e-4, rtol=1e-4)
    for unet in (pipe.unet, copy.deepcopy(pipe.unet)):
        unet.set_default_attn_processor()
        found = generate(type(pipe)(**{**pipe.components, "unet": unet}), **TWO)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    pipe.unload_relation_adapter()
    pipe.unet.set_default_attn_processor()
    torch.testing.assert_close(generate(pipe), plain, atol=1e-4, rtol=1e-4)
    assert "set_default_attn_processor" not in vars(pipe.unet)


def test_an_adapter_that_was_unloaded_while_projections_were_fused_does_not_come_back():
    pipe = tiny_pipeline()
    pipe.fuse_qkv_projections()
    pipe.unload_relation_adapter()
    pipe.unfuse_qkv_projections()
    assert not any("Parallel" in type(processor).__name__ for processor in pipe.unet.attn_processors.values())


def test_projections_fused_in_the_unet_itself_are_refused(pipe):
    pipe.unet.fuse_qkv_projections()
    with pytest.raises(ValueError, match="FusedAttnProcessor2_0, which would ignore"):
        generate(pipe, **TWO)
