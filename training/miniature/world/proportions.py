"""Which edition of the world this process draws, and the ratios of its sizes beside SDXL's.

Edition 2 is the world of the shipped weights: it keeps SDXL's ratios and gives characters fine attributes, which a
picture holds and CLIP's small input does not. `MINIATURE_WORLD=1` chooses the first edition for one process, in which
CLIP sees all that a picture holds.
"""

import os
from dataclasses import dataclass

DEFAULT_EDITION = 2


@dataclass(frozen=True)
class Proportions:
    """Sides in pixels, and whether there is anything that only the larger ones show.

    Attributes:
        picture: of a generated picture.
        clip_input: of what CLIP sees of an image prompt. clip_patch: of one of its patches.
        local_input: of what the dense local encoder sees of it. local_grid: k, cells a side of the local tokens.
        prompt: of an image prompt as it is drawn or photographed.
        portrait: height of a figure in an image prompt, a share of its height in a scene. Nobody fills a photo.
        has_fine_attributes: whether characters carry details that CLIP's input is too small for.
    """

    picture: int
    clip_input: int
    clip_patch: int
    local_input: int
    local_grid: int
    prompt: int
    portrait: float = 1.0
    has_fine_attributes: bool = True

    @property
    def local_scale(self) -> int:
        """Side of the local encoder's input in CLIP's."""
        return self.local_input // self.clip_input


# |                     | SDXL | edition 1 | edition 2 |
# |---------------------|------|-----------|-----------|
# | clip / picture      | 0.22 | 1.00      | 0.19      |
# | local / picture     | 0.88 | 2.00      | 0.75      |
# | local / clip        | 4    | 2         | 4         |
# | patch / clip        | 1/16 | 1/8       | 1/6       |
# | local patches, side | 64   | 16        | 24        |
# | glyph, CLIP's pixels|      |           | 2.1       |
# | glyph, latent cells |      |           | 1.9       |
SDXL = Proportions(picture=1024, clip_input=224, clip_patch=14, local_input=896, local_grid=4, prompt=1024)
EDITIONS = {
    1: Proportions(
        picture=128, clip_input=128, clip_patch=16, local_input=256, local_grid=4, prompt=256, has_fine_attributes=False
    ),
    2: Proportions(picture=128, clip_input=24, clip_patch=4, local_input=96, local_grid=4, prompt=128, portrait=0.75),
}


def chosen_edition(text: str | None) -> int:
    """The edition that `text` names; None: the default.

    Raises:
        ValueError: there is no such edition.
    """
    names = [str(number) for number in EDITIONS]
    if text is not None and text not in names:
        raise ValueError(f"`MINIATURE_WORLD` must be one of {', '.join(names)}, got {text!r}. Set or unset it.")
    return DEFAULT_EDITION if text is None else int(text)


EDITION = chosen_edition(os.environ.get("MINIATURE_WORLD"))
PROPORTIONS = EDITIONS[EDITION]
HAS_FINE_ATTRIBUTES = PROPORTIONS.has_fine_attributes
