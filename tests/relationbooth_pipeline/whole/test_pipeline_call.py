"""Laws of a generation."""

from dataclasses import replace

import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionXLPipeline

from relationbooth_pipeline.relation_attention import ParallelAttnProcessor
from tests.tiny import photo, tiny_components, tiny_pipeline

PROMPT = "a cat is hugging a bear"
TWO = {"image_prompts": [photo(1), photo(2)], "phrases": ["cat", "bear"]}
BOXES = [[0.0, 0.2, 0.55, 0.85], [0.5, 0.26, 0.95, 0.9]]


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def generate(pipe, prompt=PROMPT, seed=0, **arguments):
    count = len(prompt) if isinstance(prompt, list) else 1
    generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    defaults = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "latent", "guidance_scale": 5.0}
    if prompt is not None:
        defaults["prompt"] = prompt
    return pipe(**{**defaults, "generator": generators[0] if count == 1 else generators, **arguments}).images


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_without_image_prompts_it_is_sdxl_bit_for_bit(pipe):
    stock = StableDiffusionXLPipeline(**tiny_components())
    stock.set_progress_bar_config(disable=True)
    for arguments in (
        {},
        {"guidance_scale": 1.0},
        {"negative_prompt": "blue", "guidance_rescale": 0.5, "clip_skip": 1},
    ):
        assert torch.equal(generate(pipe, **arguments), generate(stock, **arguments))


def test_scale_zero_is_sdxl_and_image_prompts_change_the_picture(pipe):
    plain = generate(pipe)
    close(generate(pipe, **TWO, image_prompt_scale=0), plain)
    assert (generate(pipe, **TWO) - plain).abs().max() > 1e-2


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_batch_is_a_batch(pipe, guidance):
    """Samples with different prompts and numbers of image prompts are what they are alone."""
    prompts = [PROMPT, "a dog", "a red cat on the beach"]
    images = [[photo(1), photo(2)], [photo(3)], []]
    phrases, boxes = [["cat", "bear"], ["dog"], []], [BOXES, [BOXES[1]], []]
    batch = generate(pipe, prompts, image_prompts=images, phrases=phrases, boxes=boxes, guidance_scale=guidance)
    for i, prompt in enumerate(prompts):
        own = {"image_prompts": images[i], "phrases": phrases[i], "boxes": boxes[i]} if images[i] else {}
        close(batch[i : i + 1], generate(pipe, prompt, seed=i, guidance_scale=guidance, **own))


def test_several_images_per_prompt(pipe):
    noise = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    prompts = [PROMPT, "a dog"]
    images, phrases = [[photo(1), photo(2)], [photo(3)]], [["cat", "bear"], ["dog"]]
    four = generate(
        pipe, prompts, image_prompts=images, phrases=phrases, num_images_per_prompt=2, latents=noise, generator=None
    )
    for i in range(4):
        one = {"image_prompts": images[i // 2], "phrases": phrases[i // 2], "latents": noise[i : i + 1]}
        close(four[i : i + 1], generate(pipe, prompts[i // 2], **one))


def test_permuting_the_objects_permutes_nothing_else(pipe):
    swapped = {"image_prompts": TWO["image_prompts"][::-1], "phrases": TWO["phrases"][::-1]}
    close(generate(pipe, **swapped, boxes=BOXES[::-1]), generate(pipe, **TWO, boxes=BOXES))


def test_eight_image_prompts_and_sizes_that_are_not_square(pipe):
    many = {"image_prompts": [photo(i) for i in range(8)], "phrases": ["cat"] * 8}
    assert generate(pipe, **many, height=72, width=120).shape == (1, 4, 9, 15)


def test_scale_per_object(pipe):
    both, first = generate(pipe, **TWO, boxes=BOXES), generate(pipe, **TWO, boxes=BOXES, image_prompt_scale=[0.6, 0.0])
    close(generate(pipe, **TWO, boxes=BOXES, image_prompt_scale=[0.6, 0.6]), both)
    assert (both - first).abs().max() > 1e-3


def test_the_scale_setter_is_the_default(pipe):
    expected = generate(pipe, **TWO, image_prompt_scale=0.2)
    pipe.set_image_prompt_scale(0.2)
    close(generate(pipe, **TWO), expected)
    each = [0.2, 0.2]
    pipe.set_image_prompt_scale(each)
    each.append(0.9)  # the caller's list stays the caller's
    close(generate(pipe, **TWO), expected)
    for scale in (None, "abc", float("nan"), [0.5, None]):
        with pytest.raises(ValueError, match="`image_prompt_scale` must"):
            pipe.set_image_prompt_scale(scale)
    close(generate(pipe, **TWO), expected)
    pipe.set_image_prompt_scale(0.6)


def test_filled_masks_equal_their_boxes(pipe):
    masks = [torch.zeros(64, 64, dtype=torch.bool) for _ in BOXES]
    boxes = [[0.0, 0.25, 0.5, 0.875], [0.5, 0.25, 1.0, 0.75]]
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        mask[int(y0 * 64) : int(y1 * 64), int(x0 * 64) : int(x1 * 64)] = True
    close(generate(pipe, **TWO, masks=masks), generate(pipe, **TWO, boxes=boxes))


def test_encoded_image_prompts_can_be_kept(pipe):
    encoded = pipe.encode_image_prompts(TWO["image_prompts"], TWO["phrases"])
    expected = generate(pipe, **TWO, boxes=BOXES)
    assert torch.equal(generate(pipe, image_prompts=encoded, boxes=BOXES), expected)
    encoded = replace(encoded, phrases=None)
    assert torch.equal(generate(pipe, image_prompts=encoded, boxes=BOXES), expected)
    with pytest.raises(ValueError, match="automatic layout needs phrases"):
        generate(pipe, image_prompts=encoded, automatic_layout=True)


def test_automatic_layout_belongs_to_one_call(pipe):
    box, auto = {"boxes": BOXES}, {"automatic_layout": True, "layout_start_step": 2}
    before = generate(pipe, **TWO, **box)
    found = generate(pipe, **TWO, **box, **auto)
    assert (found - before).abs().max() > 1e-4
    assert torch.equal(generate(pipe, **TWO, **box, **auto), found)
    assert torch.equal(generate(pipe, **TWO, **box), before)


def test_automatic_layout_starts_as_the_boxes(pipe):
    def latents(**options):
        seen = []

        def after_step(pipe, step, timestep, tensors):
            seen.append(tensors["latents"].clone())
            return tensors

        generate(pipe, **TWO, boxes=BOXES, **options, num_inference_steps=3, callback_on_step_end=after_step)
        return seen

    boxes, found = latents(), latents(automatic_layout=True, layout_start_step=3)
    close(found[1], boxes[1])
    assert (found[2] - boxes[2]).abs().max() > 1e-5


def test_automatic_layout_of_a_batch(pipe):
    prompts, auto = [PROMPT, "a dog on the beach"], {"automatic_layout": True, "layout_start_step": 1}
    images, phrases = [TWO["image_prompts"], [photo(3)]], [TWO["phrases"], ["dog"]]
    batch = generate(pipe, prompts, image_prompts=images, phrases=phrases, **auto)
    for i, prompt in enumerate(prompts):
        one = generate(pipe, prompt, seed=i, image_prompts=images[i], phrases=phrases[i], **auto)
        close(batch[i : i + 1], one)


def test_dropping_the_grounding_changes_the_tokens(pipe):
    assert (generate(pipe, **TWO, drop_grounding=True) - generate(pipe, **TWO)).abs().max() > 1e-4


def test_callbacks_may_switch_guidance_off(pipe):
    """The second of two steps is then Euler's with the conditional answer alone."""
    seen = {}

    def off(pipe, step, timestep, kwargs):
        if step == 0:
            pipe._guidance_scale = 1.0
            kwargs = {k: v[-1:] if k != "latents" else v for k, v in kwargs.items()}
            seen.update(kwargs)
        return kwargs

    names = ["latents", "prompt_embeds", "add_text_embeds", "add_time_ids"]
    result = generate(pipe, **TWO, callback_on_step_end=off, callback_on_step_end_tensor_inputs=names)
    conditioning = pipe.image_prompt_kwargs(**TWO, latent_height=8, latent_width=8, roles=("conditional",))
    sigma, last = pipe.scheduler.sigmas[1:3]
    with torch.no_grad():
        noise = pipe.unet(
            seen["latents"] / (sigma**2 + 1) ** 0.5, pipe.scheduler.timesteps[1], seen["prompt_embeds"],
            added_cond_kwargs={"text_embeds": seen["add_text_embeds"], "time_ids": seen["add_time_ids"]},
            cross_attention_kwargs=conditioning,
        ).sample  # fmt: skip
    close(result, seen["latents"] + (last - sigma) * noise)


def test_users_own_embeddings_and_denoising_end(pipe):
    embeds = pipe.encode_prompt(PROMPT, do_classifier_free_guidance=True)
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    given = generate(pipe, None, **dict(zip(names, embeds)), **TWO)
    close(given, generate(pipe, **TWO))
    assert not torch.equal(generate(pipe, **TWO, num_inference_steps=4, denoising_end=0.5), given)


def test_few_steps_without_guidance():
    """Guidance 0 and 1 both mean the conditional part alone, and that part reads the image prompts."""
    pipe = tiny_pipeline(scheduler=LCMScheduler())
    found = generate(pipe, **TWO, guidance_scale=0.0)
    assert torch.equal(found, generate(pipe, **TWO, guidance_scale=1.0))
    assert (found - generate(pipe, guidance_scale=0.0)).abs().max() > 1e-2


def test_nothing_stays_behind_after_a_call_or_an_exception(pipe):
    def fail(*_):
        raise KeyboardInterrupt

    before = set(vars(pipe))
    generate(pipe, **TWO)
    with pytest.raises(KeyboardInterrupt):
        generate(pipe, **TWO, callback_on_step_end=fail)
    assert pipe._cross_attention_kwargs is None
    # SDXL itself keeps numbers of the last call; nothing of ours is added, no tensor stays.
    assert not [k for k in set(vars(pipe)) - before if isinstance(getattr(pipe, k), torch.Tensor)]
    for processor in pipe.unet.attn_processors.values():
        if isinstance(processor, ParallelAttnProcessor):
            assert set(vars(processor)) == {"layer_index"}
            assert type(processor)() is not None


def test_a_shared_unet_is_not_disturbed(pipe):
    other = StableDiffusionXLPipeline.from_pipe(pipe, dtype=torch.float32)
    other.set_progress_bar_config(disable=True)
    plain = generate(other)
    generate(pipe, **TWO)
    assert torch.equal(generate(other), plain)


def test_a_batch_in_half_precision():
    """Near the picture of float32, nearer than the picture without image prompts is."""
    prompts = [PROMPT, "a dog"]
    inputs = {"image_prompts": [TWO["image_prompts"], [photo(3)]], "phrases": [TWO["phrases"], ["dog"]]}
    pipe = tiny_pipeline()
    whole, plain = generate(pipe, prompts, **inputs), generate(pipe, prompts)
    half = generate(pipe.to(torch.bfloat16), prompts, **inputs).float()
    for row in range(2):
        error, effect = (half[row] - whole[row]).abs().mean(), (whole[row] - plain[row]).abs().mean()
        assert error < 0.3 * effect
