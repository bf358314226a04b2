"""Image prompts and masks from files, PIL images and arrays: opened safely, made RGB or boolean, prepared for CLIP; and
regions of its features pooled."""

import os
import re
import reprlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # an allow list: other decoders of Pillow are less trodden
MAX_SIDE = 16_384  # pixels; a 16k × 16k RGB image already takes 768 MiB
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # OpenAI CLIP, used by every CLIP image processor
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MASK_TOPS = (1, 255, 65535)  # what "all inside" is in arrays of flags, of bytes, and of 16-bit greys
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:")  # a drive of Windows is one letter


class _ShortRepr(reprlib.Repr):
    """`repr` for messages: long texts and lists are cut, arrays tell their shape instead of their numbers."""

    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = 120
        self.maxlist = self.maxtuple = 8
        self.maxlevel = 3

    def repr_Tensor(self, value, level) -> str:
        return f"<{type(value).__name__} of shape {tuple(value.shape)}>"

    repr_ndarray = repr_Parameter = repr_Tensor


short_repr = _ShortRepr().repr


def is_image(value: Any) -> bool:
    """Whether `value` is a path or a PIL image, by its type alone."""
    return isinstance(value, (str, Image.Image, os.PathLike))


def open_image(source: str | os.PathLike | Image.Image) -> Image.Image:
    """An upright RGB image from a path or a PIL image.

    EXIF rotation is applied; transparency is laid over white; CMYK, grey, palette and 16-bit images are converted. Of a
    JPEG with further pictures inside (phones store previews and depth maps so) the first is taken.

    Raises:
        ValueError: not an image, truncated, animated, a side over `MAX_SIDE`, or a decompression bomb.
    """
    return _opened(source, "an image prompt must be a path or a PIL image", _rgb)


def read_mask(source: str | os.PathLike | Image.Image | np.ndarray | torch.Tensor) -> torch.Tensor:
    """Boolean mask from a path, a PIL image, an array or a tensor; where it is above half is inside.

    Of a picture, alpha decides where it parts the picture (white or a cut-out on transparent) or hides it whole, else
    brightness does.
    Half is half of 1, 255 or 65535: of the least that the brightest value does not exceed.

    Args:
        source: arrays and tensors are (H, W): bool, integers or floats.
    Returns:
        bool, (H, W); perhaps without a pixel inside.
    Raises:
        ValueError: as `open_image`, another number of dimensions, or numbers that are negative, above 65535 or NaN.
    """
    if isinstance(source, torch.Tensor):  # numpy reads neither other devices nor bfloat16
        source = source.detach().cpu()
        source = (source.float() if source.is_floating_point() else source).numpy()
    if isinstance(source, np.ndarray):
        if source.ndim != 2 or min(source.shape) < 1:
            raise ValueError(f"a mask must be two-dimensional (H, W), got shape {source.shape}. Give one per object.")
        return torch.from_numpy(_above_half(source))
    rule = "a mask must be a path, a PIL image, an array or a tensor"
    return torch.from_numpy(_opened(source, rule, _inside))


def _opened(source, rule: str, read: Callable[[Image.Image, str], Any]):
    """`read(image, its name for messages)`; the file is open meanwhile."""
    if isinstance(source, Image.Image):
        name, file = "the image", None
    elif isinstance(source, (str, os.PathLike)):
        name, file = f"`{_cut(str(source))}`", _existing(source, rule)
    else:
        raise ValueError(f"{rule}, got {_kind(source)}.")
    try:
        if file is None:
            return read(source, name)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _header_read(file) as image:
                return read(image, name)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is too large to open safely ({error}). Shrink it first.") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(
            f"{name} is not a readable image ({_cut(str(error))}). Use an intact {', '.join(FORMATS)} file."
        ) from error


def _header_read(file: Path) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except ValueError as error:  # Pillow's word for some damaged headers
        raise UnidentifiedImageError(str(error)) from error


def _existing(source: str | os.PathLike, rule: str) -> Path:
    file, name = Path(source), _cut(str(source))
    try:
        found = file.is_file()
    except OSError:  # a name longer than the disk allows
        found = False
    if found:
        return file
    if _URL.match(str(source)):
        raise ValueError(f"{rule}, got the address `{name}`. Download it first, e.g. by `diffusers.utils.load_image`.")
    raise ValueError(f"no image file at `{name}`. Check the path.")


def _kind(value) -> str:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{short_repr(value)}. Turn it into a PIL image"
    return type(value).__name__


def _cut(text: str, longest: int = 200) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-longest // 2 :]}"


def _upright(image: Image.Image, name: str) -> Image.Image:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # Pillow's name of JPEGs with further pictures
        kind = f"has {frames} pages" if image.format == "TIFF" else f"is animated ({frames} frames)"
        raise ValueError(f"{name} {kind}. Save the one picture you mean.")
    if min(image.size) < 1 or max(image.size) > MAX_SIDE:
        raise ValueError(f"{name} must have sides from 1 to {MAX_SIDE} pixels, got {image.width}×{image.height}.")
    return ImageOps.exif_transpose(image)


def _with_alpha(image: Image.Image) -> Image.Image | None:
    """RGBA, or None when nothing can be transparent."""
    if image.mode == "La":  # Pillow turns it into LA alone
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa"):
        return image.convert("RGBA")
    return None


def _rgb(image: Image.Image, name: str) -> Image.Image:
    image = _upright(image, name)
    if image.mode.startswith("I") or image.mode == "F":  # Pillow clips these to white instead of scaling them
        values = np.asarray(image, dtype=np.float64)
        if image.mode != "F":
            values = values * (255 / 65535)
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if (transparent := _with_alpha(image)) is not None:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent)
    return image.convert("RGB")


def _inside(image: Image.Image, name: str) -> np.ndarray:
    image = _upright(image, name)
    if (transparent := _with_alpha(image)) is not None:
        alpha = np.asarray(transparent)[..., 3]
        opaque = alpha > 127
        if alpha.max() == 0 or (opaque.any() and not opaque.all()):
            return opaque
        image = transparent.convert("RGB")  # the colours as stored, not over white
    if image.mode.startswith("I") or image.mode == "F":
        return _above_half(np.asarray(image))
    return _above_half(np.asarray(image.convert("L")))


def _above_half(values: np.ndarray) -> np.ndarray:
    if values.dtype == bool:
        return values.copy()
    if not np.issubdtype(values.dtype, np.integer) and not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"a mask must hold booleans or numbers, got {values.dtype}.")
    low, high = values.min(), values.max()
    top = next((top for top in MASK_TOPS if high <= top), None)  # None for NaN too
    if top is None or low < 0:
        raise ValueError(f"a mask must hold numbers from 0 to 1, 255 or {MASK_TOPS[-1]}, got {low:g} to {high:g}.")
    return values > top / 2


def clip_pixels(images: list[Image.Image], size: int, squash_size: int) -> torch.Tensor:
    """CLIP input of image prompts, prepared as the released adapters were trained.

    Each image is squashed to `squash_size`² ignoring its aspect ratio, then resized to `size`² (both bicubic), and
    normalised with CLIP's mean and deviation. No centre crop: the object may reach the border.

    Args:
        images: R upright RGB images.
        size, squash_size: pixels.
    Returns:
        float32, (R, 3, size, size).
    """
    pixels = [i.resize((squash_size, squash_size)).resize((size, size), Image.Resampling.BICUBIC) for i in images]
    values = torch.from_numpy(np.stack([np.asarray(i) for i in pixels])).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (values - mean) / std


def _axis_weights(start: torch.Tensor, stop: torch.Tensor, size: int) -> torch.Tensor:
    """How much each of `size` positions counts in the mean of bilinear samples over [start, stop], (..., size).

    ⌈length⌉ samples at the centres of equal bins; centre of position i at i + 0.5; beyond the border the edge value
    counts.
    """
    length = (stop - start)[..., None]
    samples = length.ceil().clamp(min=1)
    index = torch.arange(int(samples.max()), device=start.device)
    at = start[..., None] - 0.5 + (index + 0.5) * length / samples
    inside = (index < samples) & (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    tents = (1 - (at[..., None] - torch.arange(size, device=start.device)).abs()).clamp(min=0)
    return (tents * inside[..., None]).sum(-2) / samples


def pool_regions(features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Mean feature of each box: RoIAlign with output 1×1, sampling ratio −1, aligned.

    RoIAlign's bilinear samples lie on a product grid, so each axis has its own weights and pooling is one contraction.

    Args:
        features: (R, D, h, w).
        boxes: XYXY in [0, 1], (R, M, 4).
    Returns:
        (R, M, D).
    """
    height, width = features.shape[-2:]
    x0, y0, x1, y1 = boxes.float().unbind(-1)
    rows = _axis_weights(y0 * height, y1 * height, height).to(features.dtype)
    columns = _axis_weights(x0 * width, x1 * width, width).to(features.dtype)
    return torch.einsum("rmh,rmw,rdhw->rmd", rows, columns, features)
