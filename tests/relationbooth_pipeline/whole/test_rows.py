"""Whose row is it: exactly the rows whose text is the prompt's read image prompts, in every pipeline and state."""

import pytest
import torch
from diffusers import (
    ControlNetModel,
    HeunDiscreteScheduler,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPAGPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPAGImg2ImgPipeline,
    StableDiffusionXLPAGPipeline,
    StableDiffusionXLPipeline,
    T2IAdapter,
)

from relationbooth_pipeline.relation_rows import ImagePromptStates
from tests.relationbooth_pipeline.whole.test_pipeline_call import BOXES, TWO, generate
from tests.tiny import photo, tiny_components, tiny_pipeline, tiny_unet

PROMPT = "a cat is hugging a bear"
PICTURE, MASK = photo(7, (72, 64)), photo(8, (72, 64)).convert("L")  # wider than high
PLAIN = tuple(tiny_components())


def controlnet(pipe, seed=0):
    net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
    torch.manual_seed(seed)
    torch.nn.init.normal_(net.controlnet_mid_block.weight)  # zero at first: it would change nothing
    return net


def t2i_adapter(_):
    return T2IAdapter(
        in_channels=3, channels=[16, 32, 32], num_res_blocks=1, downscale_factor=16, adapter_type="full_adapter_xl"
    )


MID = {"pag_applied_layers": lambda pipe: ["mid"]}
# Name → (class, further components, arguments beside prompt, steps and generator)
SIZE = {"height": 64, "width": 72}
EDIT = {"image": PICTURE, "strength": 0.9}
OTHERS = {
    "text": (StableDiffusionXLPipeline, {}, SIZE),
    "image to image": (StableDiffusionXLImg2ImgPipeline, {}, EDIT),
    "inpainting": (StableDiffusionXLInpaintPipeline, {}, {**EDIT, **SIZE, "mask_image": MASK}),
    "controlnet": (StableDiffusionXLControlNetPipeline, {"controlnet": controlnet}, {"image": PICTURE}),
    "controlnet, guess mode": (
        StableDiffusionXLControlNetPipeline, {"controlnet": controlnet}, {"image": PICTURE, "guess_mode": True}),
    "two controlnets": (
        StableDiffusionXLControlNetPipeline, {"controlnet": lambda pipe: [controlnet(pipe), controlnet(pipe, 1)]},
        {"image": [PICTURE, PICTURE]}),
    "t2i adapter": (
        StableDiffusionXLAdapterPipeline, {"adapter": t2i_adapter}, {"image": PICTURE, "height": 64, "width": 80}),
    "pag": (StableDiffusionXLPAGPipeline, MID, {**SIZE, "pag_scale": 2.0}),
    "pag switched off": (
        StableDiffusionXLPAGPipeline, MID, {**SIZE, "pag_scale": 0.0}),
    "pag image to image": (
        StableDiffusionXLPAGImg2ImgPipeline, MID, {**EDIT, "pag_scale": 2.0}),
    "pag with controlnet": (
        StableDiffusionXLControlNetPAGPipeline,
        {"controlnet": controlnet, **MID}, {"image": PICTURE, "pag_scale": 2.0}),
    "instruct pix2pix": (
        StableDiffusionXLInstructPix2PixPipeline, {}, {"image": PICTURE, **SIZE, "image_guidance_scale": 1.5}),
}  # fmt: skip


def build(name):
    """(our pipeline, another around the same UNet, its arguments)."""
    kind, more, arguments = OTHERS[name]
    pipe = tiny_pipeline(**({"unet": tiny_unet(in_channels=8)} if "pix2pix" in name else {}))
    parts = {part: pipe.components[part] for part in PLAIN}
    other = kind(**parts, **{key: make(pipe) for key, make in more.items()})
    other.set_progress_bar_config(disable=True)
    return pipe, other, arguments


class Rows:
    """Watches a UNet: for every call, which rows read image prompts and which rows' text is the prompt's."""

    def __init__(self, unet, text: torch.Tensor):
        self.reading, self.prompted = [], []
        self.text = text
        self.handle = unet.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, unet, args, kwargs):
        states = (kwargs.get("cross_attention_kwargs") or {}).get("ip_hidden_states")
        context = kwargs["encoder_hidden_states"]
        parts = (False,) * len(context) if states is None else states.reads
        assert states is None or isinstance(states, ImagePromptStates)
        self.reading.append([reads for reads in parts for _ in range(len(context) // len(parts))])
        self.prompted.append([any(torch.equal(row, text) for text in self.text) for row in context])


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("name", OTHERS)
def test_the_rows_of_the_prompt_read_image_prompts_and_no_others(name, guidance):
    pipe, other, arguments = build(name)
    text = pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False)[0]
    rows = Rows(pipe.unet, text)

    def run(draw, **image_prompts):
        return draw(
            PROMPT, **arguments, guidance_scale=guidance, num_inference_steps=4, num_images_per_prompt=2,
            generator=torch.Generator().manual_seed(0), output_type="latent", **image_prompts,
        ).images  # fmt: skip

    plain = run(other)
    assert not any(map(any, rows.reading))
    rows.reading.clear(), rows.prompted.clear()
    drawn = run(lambda *args, **kwargs: pipe.draw_through(other, *args, **kwargs), **TWO, boxes=BOXES)
    assert rows.reading and rows.reading == rows.prompted
    changes = (drawn - plain).abs().flatten(1).amax(1)
    assert len(changes) == 2 and changes.min() > 1e-3
    assert torch.equal(run(other), plain) and getattr(other, "_cross_attention_kwargs", None) is None


def test_drawing_through_the_stock_pipeline_is_our_own_call():
    pipe, other, _ = build("text")
    expected = generate(pipe, [PROMPT, "a dog"], image_prompts=[TWO["image_prompts"], []], phrases=[TWO["phrases"], []])
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    drawn = pipe.draw_through(
        other, [PROMPT, "a dog"], height=64, width=64, num_inference_steps=2, output_type="latent", guidance_scale=5.0,
        generator=generators, image_prompts=[TWO["image_prompts"], []], phrases=[TWO["phrases"], []],
    ).images  # fmt: skip
    assert torch.equal(drawn, expected)


def test_perturbed_attention_pushes_away_from_nothing_but_the_perturbation():
    """Where the perturbation weighs nothing, PAG with image prompts is plain guidance with image prompts."""
    pipe, other, _ = build("pag")
    expected = generate(pipe, **TWO)
    drawn = pipe.draw_through(
        other, PROMPT, height=64, width=64, num_inference_steps=2, guidance_scale=5.0, pag_scale=1e-9,
        generator=torch.Generator().manual_seed(0), output_type="latent", **TWO,
    ).images  # fmt: skip
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("images", [1, 2])
def test_guidance_may_end_on_the_way(images):
    pipe = tiny_pipeline()
    rows = Rows(pipe.unet, pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False)[0])

    def off(pipe, step, timestep, kwargs):
        if step == 0:
            pipe._guidance_scale = 0.0
            return {k: v[-images:] if k != "latents" else v for k, v in kwargs.items()}
        return kwargs

    names = ["latents", "prompt_embeds", "add_text_embeds", "add_time_ids"]
    options = {"num_images_per_prompt": images, "num_inference_steps": 3, "callback_on_step_end": off}
    drawn = generate(pipe, **TWO, **options, callback_on_step_end_tensor_inputs=names)
    assert [len(call) for call in rows.reading] == [2 * images, images, images] and rows.reading == rows.prompted
    with_nothing = generate(pipe, **options, callback_on_step_end_tensor_inputs=names)
    assert (drawn - with_nothing).abs().flatten(1).amax(1).min() > 1e-3


def test_image_prompts_act_between_two_shares_of_the_steps():
    pipe = tiny_pipeline()
    rows = Rows(pipe.unet, pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False)[0])

    def calls(**options):
        rows.reading.clear()
        generate(pipe, **TWO, **options)
        return [any(call) for call in rows.reading]

    half = {"num_inference_steps": 4, "image_prompt_start": 0.5}
    assert calls(**half) == [False, False, True, True]
    assert calls(num_inference_steps=4, image_prompt_end=0.5) == [True, True, False, False]
    assert calls(num_inference_steps=5, image_prompt_start=0.2, image_prompt_end=0.8) == [
        False,
        True,
        True,
        True,
        False,
    ]
    heun = tiny_pipeline(scheduler=HeunDiscreteScheduler())  # two UNet calls a step
    assert sum(calls(num_inference_steps=4)) == 4
    rows = Rows(heun.unet, torch.zeros(1))
    generate(heun, **TWO, num_inference_steps=4, image_prompt_start=0.5)
    assert [any(call) for call in rows.reading] == [False] * 4 + [True] * 3
    with pytest.raises(ValueError, match="0 ≤ start < end ≤ 1, got 0.6 and 0.5"):
        generate(pipe, **TWO, image_prompt_start=0.6, image_prompt_end=0.5)

    with pytest.raises(ValueError, match="must have a whole step between them, got 0.6 and 0.7 for 4 steps"):
        generate(pipe, **TWO, num_inference_steps=4, image_prompt_start=0.6, image_prompt_end=0.7)


@pytest.mark.parametrize(
    "options",
    [
        *({"num_inference_steps": steps} for steps in (1, 3, 4, 5, 20)),
        {"num_inference_steps": 10, "image_prompt_end": 0.4},
        {"num_inference_steps": 10, "image_prompt_start": 0.7},
        {"num_inference_steps": 4, "boxes": BOXES},
    ],
)
def test_automatic_layout_acts_in_time(options):
    pipe = tiny_pipeline()
    without = {**TWO, "boxes": BOXES} if "boxes" in options else {"num_inference_steps": options["num_inference_steps"]}
    found = generate(pipe, **TWO, **options, automatic_layout=True)
    assert (found - generate(pipe, **{**options, **without} if "boxes" in options else without)).abs().max() > 1e-5


def test_automatic_layout_looks_at_the_conditional_part_once_a_call():
    pipe, other, _ = build("pag")
    options = {"automatic_layout": True, "layout_start_step": 2, "num_inference_steps": 3, "boxes": BOXES}
    expected = generate(pipe, **TWO, **options)
    drawn = pipe.draw_through(
        other, PROMPT, height=64, width=64, guidance_scale=5.0, pag_scale=1e-9, **options,
        generator=torch.Generator().manual_seed(0), output_type="latent", **TWO,
    ).images  # fmt: skip
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["t2i adapter", "instruct pix2pix"])
def test_a_pipeline_that_does_not_tell_its_steps_is_asked_for_nothing_that_depends_on_them(name):
    pipe, other, arguments = build(name)
    few = {**arguments, "num_inference_steps": 2, "output_type": "latent", **TWO}
    with pytest.raises(ValueError, match="does not tell its steps: leave `image_prompt_start`"):
        pipe.draw_through(other, PROMPT, **few, image_prompt_start=0.5)
    with pytest.raises(ValueError, match="does not tell its steps, so automatic layout .* give `boxes` or `masks`"):
        pipe.draw_through(other, PROMPT, **few, automatic_layout=True)
    seeded = [torch.Generator().manual_seed(0) for _ in range(2)]
    placed = pipe.draw_through(other, PROMPT, **few, automatic_layout=True, boxes=BOXES, generator=seeded[0]).images
    boxes_alone = pipe.draw_through(other, PROMPT, **few, boxes=BOXES, generator=seeded[1]).images
    assert torch.equal(placed, boxes_alone)  # two steps: the boxes act until the fifth
