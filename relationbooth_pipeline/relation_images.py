"""Image prompts from files and PIL images: opened safely, made RGB, squashed and normalised for CLIP."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # an allow list: other decoders of Pillow are less trodden
MAX_SIDE = 16_384  # pixels; a 16k × 16k RGB image already takes 768 MiB
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # OpenAI CLIP, used by every CLIP image processor
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def is_image(value) -> bool:
    return isinstance(value, (str, Image.Image)) or hasattr(value, "__fspath__")


def open_image(source) -> Image.Image:
    """An upright RGB image from a path, a `Path` or a PIL image.

    EXIF rotation is applied; transparency is laid over white; CMYK, grey, palette and 16-bit images are converted.

    Raises:
        ValueError: not an image, truncated, animated, a side over `MAX_SIDE`, or a decompression bomb.
    """
    name = "the image" if isinstance(source, Image.Image) else f"`{source}`"
    if isinstance(source, Image.Image):
        return _rgb(source, name)
    if not isinstance(source, (str, Path)):
        raise ValueError(f"an image prompt must be a path or a PIL image, got {type(source).__name__}.")
    if not Path(source).is_file():
        raise ValueError(f"no image file at {name}. Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                return _rgb(image, name)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is too large to open safely ({error}). Shrink it first.") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(
            f"{name} is not a readable image ({error}). Use an intact {', '.join(FORMATS)} file."
        ) from error


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{name} is animated ({image.n_frames} frames). Save the one frame you mean.")
    if min(image.size) < 1 or max(image.size) > MAX_SIDE:
        raise ValueError(f"{name} must have sides from 1 to {MAX_SIDE} pixels, got {image.width}×{image.height}.")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # Pillow clips these to white instead of scaling them
        values = np.asarray(image, dtype=np.float64)
        if image.mode != "F":
            values = values * (255 / 65535)
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def clip_pixels(images: list[Image.Image], size: int, squash_size: int) -> torch.Tensor:
    """CLIP input of image prompts, prepared as the released adapters were trained.

    Each image is squashed to `squash_size`² ignoring its aspect ratio, then resized to `size`² (both bicubic), and
    normalised with CLIP's mean and deviation. No centre crop: the object may reach the border.

    Returns:
        float32, (R, 3, size, size).
    """
    pixels = [i.resize((squash_size, squash_size)).resize((size, size), Image.Resampling.BICUBIC) for i in images]
    values = torch.from_numpy(np.stack([np.asarray(i) for i in pixels])).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (values - mean) / std
