"""Painted places: a mask per object from a file or a data URL, and the mask of a box."""

import base64
import binascii
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..relation_images import read_mask

DATA_URL = "data:image/png;base64,"
MAX_MASK_BYTES = 65_536  # of a data URL; a painted mask of 64 × 64 takes about one thousand


def open_mask(source: str) -> Image.Image:
    """Grey picture, white where the object goes, from an image file (as `read_mask`) or a `data:image/png;base64,` URL.

    Raises:
        ValueError: unreadable, too large, or nothing is painted.
    """
    if not source.startswith(DATA_URL):
        mask = Image.fromarray(np.uint8(255) * read_mask(Path(source)).numpy())
    elif len(source) > MAX_MASK_BYTES:
        raise ValueError(f"a painted mask must have at most {MAX_MASK_BYTES} characters, got {len(source)}. Clear it.")
    else:
        try:
            raw = base64.b64decode(source[len(DATA_URL) :], validate=True)
            with Image.open(io.BytesIO(raw), formats=("PNG",)) as image:
                if max(image.size) > 1024:
                    raise ValueError(f"a painted mask must have sides up to 1024, got {image.size}. Clear it.")
                image.load()
                mask = Image.fromarray(np.uint8(255) * read_mask(image).numpy())
        except (OSError, SyntaxError, binascii.Error) as error:
            raise ValueError(f"a painted mask is no readable PNG ({error}). Clear it and paint again.") from error
    if mask.getbbox() is None:
        raise ValueError("a painted mask is empty. Paint the object's place, or clear it and draw a box.")
    return mask


def box_mask(box: list[float], size: tuple[int, int]) -> Image.Image:
    """White in the box (XYXY in [0, 1]), on black, `size` = (width, height)."""
    mask = Image.new("L", size)
    x0, y0, x1, y1 = (round(value * side) for value, side in zip(box, size * 2))
    ImageDraw.Draw(mask).rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=255)
    return mask
