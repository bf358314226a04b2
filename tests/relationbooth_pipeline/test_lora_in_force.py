"""What of a RelationLoRA is in force: its layout prior follows its weights, and so does what it does to phrases."""

import copy
from functools import partial

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from peft import LoraConfig, inject_adapter_in_model

from relationbooth_pipeline import RelationBoothPipeline, RelationMetadata
from tests.relationbooth_pipeline.test_relation_lora import HUG, make_lora
from tests.relationbooth_pipeline.whole.test_pipeline_call import BOXES, PROMPT, TWO, close, generate
from tests.tiny import tiny_pipeline

PRIOR, SIDE = HUG.layout_prior, [[0.0, 0.1, 0.5, 0.9], [0.5, 0.1, 1.0, 0.9]]


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    return make_lora(tmp_path_factory.mktemp("hug"))


@pytest.fixture
def pipe(lora):
    pipe = tiny_pipeline()
    pipe.load_lora_weights(lora, adapter_name="hug")
    return pipe


def fuse(pipe, **options):
    pipe.fuse_lora(**options)


def again(pipe):
    pipe.disable_lora()
    pipe.enable_lora()


# What was done to a pipeline with the LoRA at weight 1 → where two objects then go
STATES = {
    "nothing": ([], PRIOR),
    "disabled": ([lambda p: p.disable_lora()], SIDE),
    "disabled and enabled": ([again], PRIOR),
    "weight 0": ([lambda p: p.set_adapters("hug", 0.0)], SIDE),
    "weight below 0": ([lambda p: p.set_adapters("hug", -1.0)], SIDE),
    "weight 0 in all blocks but one": (
        [lambda p: p.set_adapters("hug", {"unet": {"down": 0.0, "mid": 0.0, "up": 0.1}})],
        PRIOR,
    ),
    "unloaded": ([lambda p: p.unload_lora_weights()], SIDE),
    "deleted": ([lambda p: p.delete_adapters("hug")], SIDE),
    "fused": ([fuse], PRIOR),
    "fused with weight 0": ([lambda p: p.fuse_lora(lora_scale=0.0)], SIDE),
    "fused, then weight 0": ([fuse, lambda p: p.set_adapters("hug", 0.0)], PRIOR),
    "fused and unloaded": ([fuse, lambda p: p.unload_lora_weights()], PRIOR),
    "fused and deleted": ([fuse, lambda p: p.delete_adapters("hug")], PRIOR),
    "fused, unfused and unloaded": ([fuse, lambda p: p.unfuse_lora(), lambda p: p.unload_lora_weights()], SIDE),
}


@pytest.mark.parametrize("name", STATES)
def test_the_prior_follows_what_changes_the_picture(name, pipe):
    steps, boxes = STATES[name]
    for step in steps:
        step(pipe)
    assert pipe.layout(2) == boxes
    pipe.layout(2)[0][0] = 99  # a caller's own list
    assert pipe.layout(2) == boxes
    plain = generate(tiny_pipeline(), **TWO, boxes=BOXES)
    acts = not torch.allclose(generate(pipe, **TWO, boxes=BOXES), plain, atol=1e-4)
    assert acts == (boxes == PRIOR) or name == "weight below 0"  # an inverted relation has no layout that we know


@pytest.mark.parametrize("scale, boxes", [(0.0, SIDE), (0.5, PRIOR), (None, PRIOR)])
def test_the_scale_of_a_call_counts(scale, boxes, pipe):
    call = {} if scale is None else {"cross_attention_kwargs": {"scale": scale}}
    assert torch.equal(generate(pipe, **TWO, **call), generate(pipe, **TWO, boxes=boxes, **call))
    pipe.fuse_lora()  # a fused LoRA acts whatever the call's scale is
    assert torch.equal(generate(pipe, **TWO, **call), generate(pipe, **TWO, boxes=PRIOR, **call))


def test_a_call_of_scale_0_is_the_picture_without_the_lora(pipe):
    close(generate(pipe, **TWO, cross_attention_kwargs={"scale": 0.0}), generate(tiny_pipeline(), **TWO))


def test_the_weight_of_a_rank_stabilised_lora(pipe, tmp_path):
    """Its layers multiply by alpha/√r: 1 here, where alpha/r would read as a weight of 4."""
    other = RelationMetadata(
        "kiss", "is kissing", "A {0} is kissing a {1}", layout_prior=[[0, 0, 1, 0.5], [0, 0.5, 1, 1]]
    )
    stable = make_lora(tmp_path, rank=16, alpha=4, metadata=other, config={"use_rslora": True})
    pipe.load_lora_weights(stable, adapter_name="stable")
    pipe.set_adapters(["hug", "stable"], [2.0, 1.0])
    assert pipe.layout(2) == PRIOR
    pipe.set_adapters(["hug", "stable"], [0.9, 1.0])
    assert pipe.layout(2) == other.layout_prior


def test_a_lora_of_alpha_0_cannot_act(tmp_path):
    pipe = tiny_pipeline()
    pipe.load_lora_weights(make_lora(tmp_path, alpha=0), adapter_name="hug")
    assert pipe.layout(2) == SIDE
    close(generate(pipe, **TWO), generate(tiny_pipeline(), **TWO))


def test_pipelines_that_share_a_unet_share_its_relations(pipe):
    pipe.set_image_prompt_scale(1.0)
    expected = generate(pipe, **TWO)
    twin = RelationBoothPipeline.from_pipe(pipe)
    twin.set_progress_bar_config(disable=True)
    assert torch.equal(generate(twin, **TWO), expected)
    assert RelationBoothPipeline(**pipe.components).layout(2) == copy.deepcopy(pipe).layout(2) == PRIOR
    twin.unload_lora_weights()
    assert pipe.relation_metadata == {} and pipe.layout(2) == SIDE


def test_a_compiled_unet_keeps_its_relations(lora, pipe):
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    assert pipe.relation_metadata == {"hug": HUG} and pipe.layout(2) == PRIOR
    later = tiny_pipeline()
    later.unet = torch.compile(later.unet, backend="eager")
    later.load_lora_weights(lora, adapter_name="hug")
    assert later.relation_metadata == {"hug": HUG} and later.layout(2) == PRIOR


@pytest.fixture
def text_lora():
    """A pipeline with a LoRA in its first text encoder, which reads prompt and phrases."""
    pipe = tiny_pipeline()
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "fc1"], init_lora_weights=False)
    inject_adapter_in_model(config, pipe.text_encoder, "text")
    return pipe


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_phrases_are_encoded_as_the_prompt_is(scale, text_lora):
    """The picture of a call's scale is the picture of weights fused with that scale."""
    scalings = [dict(m.scaling) for m in text_lora.text_encoder.modules() if hasattr(m, "lora_A")]
    encoded = text_lora.encode_image_prompts(**TWO).phrase_embeds
    with text_lora.scaled_loras(scale):
        scaled = text_lora.encode_image_prompts(**TWO).phrase_embeds
    assert [dict(m.scaling) for m in text_lora.text_encoder.modules() if hasattr(m, "lora_A")] == scalings
    assert torch.equal(text_lora.encode_image_prompts(**TWO).phrase_embeds, encoded)
    called = generate(text_lora, **TWO, cross_attention_kwargs={"scale": scale})
    text_lora.fuse_lora(components=["text_encoder"], lora_scale=scale)
    close(text_lora.encode_image_prompts(**TWO).phrase_embeds, scaled)
    close(generate(text_lora, **TWO), called)


def test_an_error_inside_leaves_the_weights_as_they_were(text_lora):
    before = text_lora.encode_image_prompts(**TWO).phrase_embeds
    with pytest.raises(ValueError, match="boxes"):
        generate(text_lora, **TWO, boxes=[[0, 0, 9, 9]] * 2, cross_attention_kwargs={"scale": 0.3})
    assert torch.equal(text_lora.encode_image_prompts(**TWO).phrase_embeds, before)


def test_other_pipelines_take_the_scale_along(pipe):
    other = StableDiffusionXLPipeline(**pipe.sdxl_components)
    other.set_progress_bar_config(disable=True)
    for scale in (0.0, 0.5):
        expected = generate(pipe, **TWO, cross_attention_kwargs={"scale": scale})
        pipe.set_adapters("hug")  # diffusers resets a scale of 0 to weight 1 by itself, other weights not
        with pipe.scaled_loras(scale):
            kwargs = {**pipe.image_prompt_kwargs(**TWO, latent_height=8, latent_width=8), "scale": scale}
        assert torch.equal(generate(other, PROMPT, cross_attention_kwargs=kwargs), expected)
        pipe.set_adapters("hug")
        through = partial(pipe.draw_through, other)
        assert torch.equal(generate(through, **TWO, cross_attention_kwargs={"scale": scale}), expected)
