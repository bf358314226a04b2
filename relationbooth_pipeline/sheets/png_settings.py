"""A picture that tells how it was made: settings as JSON in a PNG's tEXt chunk."""

import json
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from ..relation_files import whole_file

SETTINGS_KEY = "relationbooth"


def save_png(image: Image.Image, path: str | Path, settings: dict[str, Any] | None = None) -> None:
    """Write a PNG whole or not at all, with `settings` in its `relationbooth` text chunk.

    Args:
        settings: JSON-ready; its `kind` says what the picture is ("generated picture", "sheet", …).
    """
    path = Path(path)
    chunks = PngImagePlugin.PngInfo()
    if settings is not None:
        # ASCII only: a tEXt chunk is Latin-1, and json escapes everything else.
        chunks.add_text(SETTINGS_KEY, json.dumps(settings))
    with whole_file(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=chunks)


def read_png_settings(path: str | Path) -> dict[str, Any] | None:
    """Settings that `save_png` wrote; None for a PNG without them.

    Raises:
        ValueError: no readable PNG, or a damaged chunk.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.load()  # text chunks may follow the pixels
            text = image.text.get(SETTINGS_KEY)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"`{path}` is no readable PNG ({error}). Use an intact file.") from error
    if text is None:
        return None
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{path}` has a damaged `{SETTINGS_KEY}` chunk ({error}). Use an intact file.") from error
    if not isinstance(settings, dict):
        raise ValueError(
            f"`{path}`: its `{SETTINGS_KEY}` chunk must be a JSON object, got {type(settings).__name__}. Use an intact "
            "file."
        )
    return settings
