"""The adapter beside the rest of diffusers: other pipelines, IP-Adapter, compilation, training."""

import copy
import pickle

import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPAGPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.models.attention_processor import AttnProcessor2_0

from tests.relationbooth_pipeline.whole.test_pipeline_call import BOXES, TWO, generate
from tests.tiny import photo, tiny_pipeline, tiny_unet

SIZE = {"height": 64, "width": 64}


@pytest.fixture
def pipe():
    return tiny_pipeline()


def other_pipelines(pipe):
    picture, mask = photo(7, (64, 64)), photo(8, (64, 64)).convert("L")
    controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
    torch.nn.init.normal_(controlnet.controlnet_mid_block.weight)  # zero at first: it would change nothing
    keep = {"dtype": torch.float32}
    control = StableDiffusionXLControlNetPipeline.from_pipe(pipe, controlnet=controlnet, **keep)
    return {
        "controlnet": (control, {"image": picture, **SIZE, "num_inference_steps": 2}),
        "image to image": (
            StableDiffusionXLImg2ImgPipeline.from_pipe(pipe, **keep),
            {"image": picture, "strength": 0.8},
        ),
        "inpainting": (
            StableDiffusionXLInpaintPipeline.from_pipe(pipe, **keep),
            {"image": picture, "mask_image": mask, "strength": 0.9, **SIZE},
        ),
    }


@pytest.mark.parametrize("name", ["controlnet", "image to image", "inpainting"])
def test_other_pipelines_take_the_same_conditioning(pipe, name):
    other, arguments = other_pipelines(pipe)[name]
    other.set_progress_bar_config(disable=True)

    def run(draw=other, **kwargs):
        defaults = {"num_inference_steps": 4, "output_type": "latent"}
        generator = torch.Generator().manual_seed(0)
        return draw("a cat is hugging a bear", **{**defaults, **arguments}, generator=generator, **kwargs).images

    plain = run()
    with_image_prompts = run(
        cross_attention_kwargs=pipe.image_prompt_kwargs(**TWO, boxes=BOXES, latent_height=8, latent_width=8)
    )
    drawn = run(lambda *args, **kwargs: pipe.draw_through(other, *args, **kwargs), **TWO, boxes=BOXES)
    torch.testing.assert_close(with_image_prompts, drawn, atol=1e-5, rtol=1e-5)
    assert (with_image_prompts - plain).abs().max() > 1e-3
    assert torch.equal(run(), plain)


def test_from_pipe_shares_weights_and_keeps_the_dtype(pipe):
    pipe.to(torch.bfloat16)
    other = StableDiffusionXLImg2ImgPipeline.from_pipe(pipe, dtype=torch.bfloat16)
    back = type(pipe).from_pipe(other)
    assert other.unet is pipe.unet is back.unet
    assert pipe.unet.dtype == back.unet.dtype == torch.bfloat16
    assert back.relation_adapter is None  # an image-to-image pipeline has no such component to hand on
    pipe.set_image_prompt_scale([0.3, 0.9])
    again = type(pipe).from_pipe(pipe)
    assert again._image_prompt_scale == [0.3, 0.9]
    assert again.relation_adapter is pipe.relation_adapter and again.unet.dtype == torch.bfloat16


@pytest.mark.parametrize("adapter", [True, False])
def test_sdxl_components_fit_other_pipelines(adapter):
    pipe = tiny_pipeline(adapter=adapter)
    controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
    others = [
        other(**pipe.sdxl_components)
        for other in (
            StableDiffusionXLPipeline,
            StableDiffusionXLImg2ImgPipeline,
            StableDiffusionXLInpaintPipeline,
            StableDiffusionXLInstructPix2PixPipeline,
            StableDiffusionXLPAGPipeline,
        )
    ]
    others.append(StableDiffusionXLControlNetPipeline(**pipe.sdxl_components, controlnet=controlnet))
    assert all(other.unet is pipe.unet and other.text_encoder is pipe.text_encoder for other in others)
    assert type(pipe)(**pipe.components).relation_adapter is pipe.relation_adapter
    if not adapter:
        assert StableDiffusionXLImg2ImgPipeline(**pipe.components).unet is pipe.unet


def test_conditioning_holds_no_graph(pipe):
    assert any(p.requires_grad for p in pipe.relation_adapter.parameters())
    conditioning = pipe.image_prompt_kwargs(**TWO, latent_height=8, latent_width=8)
    assert not any(layers.requires_grad for layers in conditioning["ip_hidden_states"].layers.values())


def test_ip_adapter_works_while_no_image_prompts_are_given(pipe):
    plain, ours = generate(pipe), generate(pipe, **TWO)
    state = ip_adapter_state(pipe.unet)
    pipe.unet._load_ip_adapter_weights([state])
    embeds = [torch.randn(2, 1, 1, 16)]
    with_ip = generate(pipe, ip_adapter_image_embeds=embeds)
    assert not torch.allclose(with_ip, plain)
    with pytest.raises(ValueError, match="cannot act together"):
        generate(pipe, **TWO, ip_adapter_image_embeds=embeds)
    with pytest.raises(ValueError, match="IPAdapterAttnProcessor2_0, which would ignore `image_prompts`"):
        generate(pipe, **TWO)
    with pytest.raises(ValueError, match=r"has an IP-Adapter, .* call `pipe.unload_ip_adapter\(\)` first"):
        pipe.relation_adapter.check_fits(pipe.unet)  # which every door asks, before it changes anything
    assert torch.equal(generate(pipe, ip_adapter_image_embeds=embeds), with_ip)
    pipe.unload_ip_adapter()
    assert torch.equal(generate(pipe), plain) and torch.equal(generate(pipe, **TWO), ours)


def test_a_unet_with_an_adapter_is_pickled_and_copied(pipe):
    expected, again = generate(pipe, **TWO), pickle.loads(pickle.dumps(pipe.unet))
    for unet in (again, copy.deepcopy(pipe.unet)):
        unet.set_default_attn_processor()
        other = type(pipe)(**{**pipe.components, "unet": unet})
        torch.testing.assert_close(generate(other, **TWO), expected, atol=1e-4, rtol=1e-4)
        assert unet.set_default_attn_processor.args == (unet,)


def ip_adapter_state(unet, image_width=16, tokens=4) -> dict:
    """Random IP-Adapter weights for a UNet, in the released format."""
    context = unet.config.cross_attention_dim
    projection = {
        "proj.weight": torch.randn(tokens * context, image_width),
        "proj.bias": torch.randn(tokens * context),
        "norm.weight": torch.ones(context),
        "norm.bias": torch.zeros(context),
    }
    layers = {}
    for i, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).inner_dim
            layers |= {f"{i}.to_{m}_ip.weight": torch.randn(width, context) for m in "kv"}
    return {"image_proj": projection, "ip_adapter": layers}


def graphs(depth: int, whole: bool) -> int:
    """Number of graphs that compiling the UNet of a generation with image prompts takes."""
    torch._dynamo.reset()
    pipe = tiny_pipeline(unet=tiny_unet(transformer_layers_per_block=(1, depth)))
    eager, compiled = generate(pipe, **TWO), []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    if whole:
        pipe.unet = torch.compile(pipe.unet, backend=backend)
    else:
        pipe.unet.compile_repeated_blocks(backend=backend)
    torch.testing.assert_close(generate(pipe, **TWO), eager, atol=1e-4, rtol=1e-4)
    return len(compiled)


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="torch 2.6 compiles once per layer; nothing between it and 2.13 was tried",
)
def test_compiled_blocks_make_the_same_picture_without_a_graph_per_layer():
    assert graphs(depth=1, whole=False) == graphs(depth=4, whole=False) > 0


def test_the_whole_unet_compiles():
    assert graphs(depth=1, whole=True) == 1


def test_gradient_checkpointing_recomputes_the_same_gradients(pipe):
    def gradients():
        unet = pipe.unet
        unet.zero_grad()
        conditioning = pipe.image_prompt_kwargs(**TWO, latent_height=8, latent_width=8, roles=("conditional",))
        hidden = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        text = torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(1))
        added = {"text_embeds": torch.ones(1, 32), "time_ids": torch.ones(1, 6)}
        unet(hidden, 5, text, added_cond_kwargs=added, cross_attention_kwargs=conditioning).sample.sum().backward()
        return {name: p.grad.clone() for name, p in unet.named_parameters() if p.grad is not None}

    pipe.unet.train()
    plain = gradients()
    pipe.unet.enable_gradient_checkpointing()
    again = gradients()
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient)


def test_the_unets_files_are_plain_sdxl(pipe, tmp_path):
    pipe.unet.save_pretrained(tmp_path)
    loaded = type(pipe.unet).from_pretrained(tmp_path)
    assert loaded.state_dict().keys() == tiny_unet().state_dict().keys()
    assert all(isinstance(p, AttnProcessor2_0) for p in loaded.attn_processors.values())
