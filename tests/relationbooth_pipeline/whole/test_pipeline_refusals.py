"""Bad input is refused before any heavy work, with the pipeline as it was."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.utils import logging as diffusers_logging

from relationbooth_pipeline import RelationBoothPipeline
from tests.tiny import photo, tiny_components, tiny_pipeline

TWO = {"image_prompts": [photo(1), photo(2)], "phrases": ["cat", "bear"]}
BOX = [0.0, 0.0, 0.5, 0.5]


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_pipeline()

    def refuse(*_):
        raise AssertionError("an encoder ran before the check")

    for name in ("image_prompt_encoder", "local_image_encoder", "text_encoder", "relation_adapter", "unet"):
        getattr(pipe, name).register_forward_pre_hook(refuse)
    return pipe


CASES = {
    "phrases missing": ({**TWO, "phrases": None}, "`phrases` must name each image prompt"),
    "one phrase short": ({**TWO, "phrases": ["cat"]}, "prompt 0 has 2 image prompts and 1 phrases"),
    "empty phrase": ({**TWO, "phrases": ["cat", " "]}, "must be non-empty text"),
    "one box short": ({**TWO, "boxes": [BOX]}, "prompt 0 has 2 image prompts and 1 boxes"),
    "box in pixels": ({**TWO, "boxes": [BOX, [0, 0, 512, 512]]}, "must be XYXY in \\[0, 1\\], got .*512.* Divide"),
    "negative box": ({**TWO, "boxes": [BOX, [-0.1, 0, 1, 1]]}, "must be XYXY in \\[0, 1\\]"),
    "reversed box": ({**TWO, "boxes": [BOX, [0.5, 0, 0.2, 1]]}, "must have x0 < x1"),
    "empty box": ({**TWO, "boxes": [BOX, [0.2, 0, 0.2, 1]]}, "must have x0 < x1"),
    "three numbers": ({**TWO, "boxes": [BOX, [0, 0, 1]]}, "four finite numbers"),
    "not a number": ({**TWO, "boxes": [BOX, [0, 0, 1, float("nan")]]}, "four finite numbers"),
    "text in a box": ({**TWO, "boxes": [BOX, ["a", 0, 1, 1]]}, "`boxes` must hold numbers, got \\['a'"),
    "boxes and masks": ({**TWO, "boxes": [BOX] * 2, "masks": [np.ones((4, 4))] * 2}, "`boxes` or `masks`, not both"),
    "empty mask": ({**TWO, "masks": [np.ones((4, 4)), np.zeros((4, 4))]}, "at least one pixel"),
    "mask of three dimensions": ({**TWO, "masks": [np.ones((4, 4, 3))] * 2}, "must be two-dimensional"),
    "one mask short": ({**TWO, "masks": [np.ones((4, 4))]}, "2 image prompts and 1 masks"),
    "scales": ({**TWO, "image_prompt_scale": [1.0]}, "2 image prompts and 1 image_prompt_scale"),
    "text as scale": ({**TWO, "image_prompt_scale": "strong"}, "`image_prompt_scale` must hold numbers, got 'strong'"),
    "infinite scale": ({**TWO, "image_prompt_scale": float("inf")}, "must be finite"),
    "flat list for a batch": ({**TWO, "prompt": ["a", "b"]}, "one list per prompt when there are several prompts"),
    "lists for too many prompts": (
        {"prompt": ["a", "b"], "image_prompts": [[photo()]] * 3, "phrases": [["cat"]] * 3},
        "got 3 lists for 2 prompts",
    ),
    "no image": ({"image_prompts": [], "phrases": []}, "holds no image. Leave it out"),
    "nothing but empty lists": (
        {"prompt": ["a", "b"], "image_prompts": [[], []], "phrases": [[], []]},
        "holds no image",
    ),
    "no image object": ({"image_prompts": [3], "phrases": ["cat"]}, "of prompt 0 must be paths or PIL images, got 3"),
    "absent file": ({"image_prompts": ["nowhere.png"], "phrases": ["cat"]}, "no image file at `nowhere.png`"),
    "phrases alone": ({"phrases": ["cat"]}, "`phrases` given without `image_prompts`"),
    "size": ({**TWO, "height": 65}, "divisible by 8"),
    "no prompt": ({**TWO, "prompt": None}, "Provide either `prompt` or `prompt_embeds`"),
    "IP-Adapter too": ({**TWO, "ip_adapter_image": photo()}, "cannot act together"),
    "phrase not in the prompt": ({**TWO, "automatic_layout": True, "prompt": "a dog"}, "'cat' is not among the first"),
    "threshold": ({**TWO, "automatic_layout": True, "mask_threshold": 2}, "`mask_threshold` must be in \\[0, 1\\]"),
    "threshold alone": ({**TWO, "mask_threshold": 0.6}, "is of automatic layout. Give `automatic_layout=True`"),
    "start step alone": ({**TWO, "layout_start_step": 4}, "`layout_start_step` is of automatic layout"),
    "text as threshold": (
        {**TWO, "automatic_layout": True, "mask_threshold": "x"},
        "`mask_threshold` must be a number",
    ),
    "text as start": ({**TWO, "image_prompt_start": "a"}, "`image_prompt_start` must be a number, got 'a'"),
    "a number in text": ({**TWO, "image_prompt_start": "0.5"}, "`image_prompt_start` must be a number, got '0.5'"),
    "no end": ({**TWO, "image_prompt_end": None}, "`image_prompt_end` must be a number, got None"),
    "a name misspelt": ({"image_prompt": [photo()]}, "no argument `image_prompt`. Did you mean `image_prompts`"),
    "box for boxes": ({**TWO, "box": [BOX] * 2}, "there is no argument `box`. Did you mean `boxes`"),
    "a name of SDXL's misspelt": ({"guidance_scales": 9.0}, "Did you mean `guidance_scale`"),
    "a name of nobody's": ({"xyzzy": 1}, "there is no argument `xyzzy`. Leave it out"),
    "start step": ({**TWO, "automatic_layout": True, "layout_start_step": 0}, "must be an integer ≥ 1"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(pipe, name):
    arguments, message = CASES[name]
    before = dict(vars(pipe))
    with pytest.raises(ValueError, match=message):
        pipe(**{"prompt": "a cat is hugging a bear", "height": 64, "width": 64, **arguments})
    assert vars(pipe) == before


def test_no_adapter_loaded():
    pipe = tiny_pipeline(adapter=False)
    with pytest.raises(ValueError, match="none is loaded. Call `pipe.load_relation_adapter"):
        pipe("a cat", **TWO)


def test_replaced_processors_are_refused_and_come_back():
    pipe, few = tiny_pipeline(), {"height": 64, "width": 64, "num_inference_steps": 1, "output_type": "latent"}

    def draw():
        return pipe("a cat", **TWO, **few, generator=torch.Generator().manual_seed(0)).images

    expected = draw()
    pipe.unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(ValueError, match="AttnProcessor2_0, which would ignore `image_prompts`"):
        draw()
    pipe.enable_parallel_attention()
    assert torch.equal(draw(), expected)


def test_an_sd15_unet_is_refused():
    components = tiny_components()
    components["unet"] = UNet2DConditionModel(
        block_out_channels=(8,),
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=2,
        cross_attention_dim=16,
    )
    with pytest.raises(ValueError, match="must be an SDXL one"):
        RelationBoothPipeline(**components)


def test_a_phrase_that_the_prompt_does_not_say_is_warned_of(caplog):
    pipe, few = tiny_pipeline(), {"height": 64, "width": 64, "num_inference_steps": 1, "output_type": "latent"}
    logger = diffusers_logging.get_logger("relationbooth_pipeline")
    logger.addHandler(caplog.handler)
    try:
        for prompt, expected in (("a concatenated bear", "does not say 'cat'"), ("A Cat's bear", None)):
            caplog.clear()
            pipe(prompt, **TWO, **few)
            assert (expected in caplog.text) if expected else not caplog.text
    finally:
        logger.removeHandler(caplog.handler)
