"""Good and bad triplets of the drawn world, as pictures of docs/triplets.md and as evidence for the filters' rules.

python -m training.miniature.measure.triplet_examples docs/images/triplets.png
"""

import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.sheets.contact import COLORS, INK, MARGIN, PAPER, font

from ..world.identities import named_character
from ..world.rendering import BACKGROUNDS, Scene, render

CAT, BEAR = named_character("cat", "red", "striped", "hat"), named_character("bear", "blue", "spotted", "scarf")
PANEL, SIZE = 132, 256  # pixels: of a panel on the sheet, of a drawn scene
COLUMNS = 2  # triplets side by side


@dataclass(frozen=True)
class Example:
    """A triplet of a cat and a bear that hug.

    Attributes:
        label: what is wrong with it. rule: the filters' rule that refuses it; None: good. target: the scene.
        prompts: the objects' own scenes.
    """

    label: str
    rule: str | None
    target: Scene
    prompts: tuple[Scene, Scene]


def examples(seed: int = 3) -> list[Example]:
    """A good one, and one for each kind of fault; the same seed draws the same pictures."""
    rng = random.Random(seed)
    target = render([CAT, BEAR], "hugging", "meadow", rng, size=SIZE, swapped=False)
    alone = (_alone(CAT, "waving", rng), _alone(BEAR, "standing", rng))
    apart = render([CAT, BEAR], "back_to_back", "meadow", rng, size=SIZE, swapped=False)
    return [
        Example("good: same two, other poses and scenes", None, target, alone),
        Example(
            "the first picture is a copy of the target's crop", "another_pose", target, (copied(target, 0), alone[1])
        ),
        Example(
            "the first picture shows another animal", "identity_margin", target, (_alone(BEAR, "waving", rng), alone[1])
        ),
        Example("the first animal is too small to be known", "area_alone", target, (shrunk(alone[0], 0.25), alone[1])),
        Example("the relation does not happen", "relation", apart, alone),
        Example("keypoints of the other animal", "keypoint_place", exchanged_keypoints(target), alone),
    ]


def _alone(character, pose, rng) -> Scene:
    return render([character], pose, rng.choice([name for name in BACKGROUNDS if name != "meadow"]), rng, size=SIZE)


def copied(target: Scene, index: int) -> Scene:
    """An object's crop of the target, enlarged: what teaches to copy and paste."""
    x0, y0, x1, y1 = target.boxes[index]
    middle, half = ((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0) / 2 * 1.1
    return _transformed(target, index, (middle[0] - half, middle[1] - half), 2 * half)


def shrunk(scene: Scene, side: float) -> Scene:
    """The whole scene as a part of a larger empty one."""
    return _transformed(scene, 0, (0.5 - 0.5 / side, 0.5 - 0.5 / side), 1 / side)


def _transformed(scene: Scene, index: int, corner: tuple[float, float], side: float) -> Scene:
    """The square window of a scene with this corner and side (in units of the scene), as a scene of one object."""
    size = len(scene.image)
    box = tuple(size * v for v in (*corner, corner[0] + side, corner[1] + side))

    def window(pixels, fill) -> np.ndarray:
        picture = Image.fromarray(pixels)
        cut = picture.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR, fillcolor=fill)
        return np.asarray(cut)

    own = scene.masks[index]
    pixels = np.where(own[..., None] | (side > 1), scene.image, 255).astype(np.uint8)  # a crop by its mask
    mask = window(own.astype(np.uint8) * 255, 0) > 127
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    boxes = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32) / size
    keypoints = scene.keypoints[index : index + 1].copy()
    keypoints[..., :2] = (keypoints[..., :2] - np.array(corner, np.float32)) / side
    keypoints[..., 2] *= ((keypoints[..., :2] >= 0) & (keypoints[..., :2] <= 1)).all(-1)
    character = [scene.characters[index]]
    return replace(scene, image=window(pixels, (255, 255, 255)), characters=character, masks=mask[None], boxes=boxes,
                   keypoints=keypoints.clip(0, 1))  # fmt: skip


def exchanged_keypoints(scene: Scene) -> Scene:
    """Keypoints listed in the other object's place."""
    return replace(scene, keypoints=scene.keypoints[::-1].copy())


def sheet(drawn: list[Example]) -> Image.Image:
    """All examples: target and image prompts with their keypoints, and what is wrong below."""
    cell = 3 * PANEL + 2 * MARGIN, PANEL + 2 * MARGIN
    rows = -(-len(drawn) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * cell[0], rows * cell[1] + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(page)
    for number, example in enumerate(drawn):
        left, top = number % COLUMNS * cell[0] + MARGIN // 2, number // COLUMNS * cell[1] + MARGIN // 2
        for column, scene in enumerate((example.target, *example.prompts)):
            picture = Image.fromarray(scene.image).resize((PANEL, PANEL), Image.Resampling.LANCZOS)
            pen = ImageDraw.Draw(picture)
            for index, points in enumerate(scene.keypoints):
                color = COLORS[index if column == 0 else column - 1]
                for x, y, visible in points:
                    if visible:
                        pen.circle((x * PANEL, y * PANEL), 2, fill=color, outline=PAPER)
            page.paste(picture, (left + column * (PANEL + MARGIN // 4), top))
        name = "" if example.rule is None else f" ({example.rule})"
        color = INK if example.rule is None else COLORS[0]
        draw.text((left, top + PANEL + 4), example.label + name, color, font=font(14))
    return page


def main(arguments: list[str] | None = None) -> int:
    (path,) = sys.argv[1:] if arguments is None else arguments
    with whole_file(Path(path)) as temporary:
        sheet(examples()).quantize(128, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
