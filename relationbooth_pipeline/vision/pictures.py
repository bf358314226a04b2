"""What a picture is, whatever file holds it."""

import hashlib

from PIL import Image


def picture_digest(picture: Image.Image) -> str:
    """SHA-256 of an RGB picture's size and pixels: the same picture in another file is the same."""
    digest = hashlib.sha256(f"{picture.width}x{picture.height}:".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()
