"""A picture that tells how it was made: settings as JSON in a PNG's tEXt chunk."""

import json
import os
import tempfile
from pathlib import Path

from PIL import Image, PngImagePlugin

SETTINGS_KEY = "relationbooth"


def save_png(image: Image.Image, path: str | Path, settings: dict | None = None) -> None:
    """Write a PNG whole or not at all, with `settings` in its `relationbooth` text chunk."""
    path = Path(path)
    chunks = PngImagePlugin.PngInfo()
    if settings is not None:
        # ASCII only: a tEXt chunk is Latin-1, and json escapes everything else.
        chunks.add_text(SETTINGS_KEY, json.dumps(settings))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            image.save(file, format="PNG", pnginfo=chunks)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_png_settings(path: str | Path) -> dict | None:
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
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"`{path}` has a damaged `{SETTINGS_KEY}` chunk ({error}).") from error
