"""SDXL's invisible watermark: diffusers puts it into pictures of 256 pixels and more where its package is installed."""

import importlib.util

import numpy as np
from PIL import Image

# A picture without it agrees by chance: 40 of 48 bits or more once in 1.6 million.
LEAST_AGREEMENT = 40
LEAST_SIDE = 256  # pixels; diffusers leaves smaller pictures alone
PACKAGE, EXTRA = "imwatermark", "relationbooth[watermark]"


def watermark_bits(image: Image.Image) -> int | None:
    """How many of the 48 bits agree with SDXL's message; None where the package that reads them is not installed.

    The mark is faint: some pictures lose it at once, such as an object on pure white or strong gradients.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    from diffusers.pipelines.stable_diffusion_xl.watermark import WATERMARK_BITS
    from imwatermark import WatermarkDecoder

    blue_first = np.asarray(image.convert("RGB"))[:, :, ::-1].copy()
    found = WatermarkDecoder("bits", len(WATERMARK_BITS)).decode(blue_first, "dwtDct")
    return sum(int(bit) == expected for bit, expected in zip(found, WATERMARK_BITS))


def watermark_told(image: Image.Image) -> str:
    """Whether a picture carries SDXL's watermark, in words."""
    if min(image.size) < LEAST_SIDE:
        return f"none: pictures below {LEAST_SIDE} pixels get no watermark"
    bits = watermark_bits(image)
    if bits is None:
        return f"not looked for: pip install '{EXTRA}'"
    found = "found" if bits >= LEAST_AGREEMENT else "not found"
    return f"{found} ({bits} of 48 bits agree)"
