"""Every path of a generation in float16 and bfloat16: the picture is that of float32 up to rounding."""

import pytest
import torch

from relationbooth_pipeline.relation_layouts import AutomaticLayout
from relationbooth_pipeline.relation_resampler import fourier_embedding
from tests.relationbooth_pipeline.whole.test_pipeline_call import BOXES, TWO, generate
from tests.tiny import DEVICES, tiny_adapter, tiny_pipeline, tiny_unet

MASK = torch.zeros(64, 64, dtype=torch.bool)
MASK[10:50, 5:33] = True
PATHS = {
    "boxes": {"boxes": BOXES},
    "masks": {"masks": [MASK, MASK.flip(1)]},
    # At a threshold of 0 no cell lies close to the cut, which rounding would move.
    "automatic layout": {"automatic_layout": True, "layout_start_step": 1, "mask_threshold": 0.0},
    "learned queries": {"drop_grounding": True},
    "a scale per object and block": {"image_prompt_scale": [0.5, 0.9], "block_scales": {"up": 1.0}},
    "no guidance": {"guidance_scale": 1.0},
}


def drawn(dtype, background=False, device="cpu", **options):
    unet = tiny_unet()
    adapter = {"relation_adapter": tiny_adapter(unet, background_tokens_active=True)} if background else {}
    pipe = tiny_pipeline(unet=unet)
    pipe.register_modules(**adapter)
    # one noise for all: what a seed draws in half precision differs between versions of torch
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    return generate(pipe.to(device, dtype), **TWO, **options, latents=noise, generator=None).float().cpu()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("path", [*PATHS, "active background tokens"])
def test_a_picture_in_half_precision_is_that_of_float32(path, dtype, device):
    """And on a GPU that of the CPU."""
    options = PATHS.get(path, {"boxes": BOXES, "background": True})
    expected, found = drawn(torch.float32, **options), drawn(dtype, **options, device=device)
    size = expected.abs().max()
    tolerance = 0.02 if dtype is torch.float16 else 0.12  # 11 and 8 bits of mantissa through two guided steps
    assert ((found - expected).abs().max() / size) < tolerance


def test_large_queries_do_not_overflow_in_automatic_layout():
    """The bare product of two float16 states of this size is infinite, the scaled one is not."""
    unet = tiny_unet()
    pipe = tiny_pipeline(unet=unet)
    for name, weights in unet.named_parameters():
        if "attn2.to_q" in name or "attn2.to_k" in name:
            weights.data *= 90
    seen = []
    real = AutomaticLayout.masks

    def watched(self, layer, probabilities):
        seen.append(probabilities)
        return real(self, layer, probabilities)

    AutomaticLayout.masks = watched
    try:
        generate(pipe.to(torch.float16), **TWO, automatic_layout=True, num_inference_steps=1)
    finally:
        AutomaticLayout.masks = real
    assert seen and all(torch.isfinite(p).all() for p in seen)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_boxes_reach_the_fourier_embedding_in_float32(dtype, monkeypatch):
    from relationbooth_pipeline import relation_resampler

    seen = []
    monkeypatch.setattr(
        relation_resampler, "fourier_embedding", lambda boxes, n: (seen.append(boxes), fourier_embedding(boxes, n))[1]
    )
    generate(tiny_pipeline().to(dtype), **TWO, boxes=BOXES)
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], torch.tensor(BOXES), rtol=0, atol=0)
