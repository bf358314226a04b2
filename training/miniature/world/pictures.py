"""Pictures as tensors, and contact sheets of them."""

import numpy as np
import torch
from PIL import Image, ImageDraw


def to_tensor(images):
    """(B, S, S, 3) uint8 array or list of arrays -> (B, 3, S, S) float in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pictures(tensor):
    """(B, 3, S, S) in [-1, 1] -> (B, S, S, 3) uint8."""
    return ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).byte().cpu().numpy()


def contact_sheet(pictures, path, columns, captions=None, cell=160):
    """Write pictures row by row into one PNG or JPEG.

    Args:
        pictures: list of (S, S, 3) uint8 arrays. path: file to write. columns: per row.
        captions: texts under the pictures, or None. cell: side of a picture in pixels.
    """
    strip = 26 if captions else 0
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + strip)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = (index % columns) * cell, (index // columns) * (cell + strip)
        sheet.paste(Image.fromarray(np.asarray(picture)).resize((cell, cell), Image.BICUBIC), (x, y))
        if captions:
            words = captions[index].split()
            half = len(words) // 2 + 1
            draw.text(
                (x + 2, y + cell), " ".join(words[:half]) + "\n" + " ".join(words[half:]), fill=(0, 0, 0), font_size=10
            )
    sheet.save(path)
