"""Pictures of coloured blocks, and annotators that read them exactly: what they find is known."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from relationbooth_pipeline.triplets.annotation import Thresholds, annotate, keep_pictures
from relationbooth_pipeline.triplets.annotators import (
    BoxFinder,
    Captioner,
    Choice,
    KeypointFinder,
    Likeness,
    RelationJudge,
    Segmenter,
)
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.photos import read_pictures

COLORS = {"cat": (255, 0, 0), "dog": (0, 0, 255)}
LEFT, RIGHT, MIDDLE = (0.1, 0.2, 0.5, 0.9), (0.5, 0.2, 0.9, 0.9), (0.3, 0.1, 0.7, 0.9)
SIZE = (60, 40)  # width, height


def draw(file: Path, **boxes) -> Path:
    pixels = np.full((SIZE[1], SIZE[0], 3), 255, dtype=np.uint8)
    for phrase, box in boxes.items():
        x0, y0, x1, y1 = (round(v * side) for v, side in zip(box, SIZE * 2))
        pixels[y0:y1, x0:x1] = COLORS[phrase]
        pixels[(y0 + y1) // 2, x0:x1] = 128  # a line across: a block is no other block's copy
    Image.fromarray(pixels).save(file)
    return file


def save_pictures(folder: Path, names=("hug", "hug-2"), **target) -> Path:
    """`NAME.png` of a cat and a dog side by side, and each alone, wider than in the target."""
    folder.mkdir(exist_ok=True)
    for name in names:
        draw(folder / f"{name}.png", **(target or {"cat": LEFT, "dog": RIGHT}))
        draw(folder / f"{name}_object_0.png", cat=(0.2, 0.3, 0.9, 0.7))
        draw(folder / f"{name}_object_1.png", dog=(0.1, 0.3, 0.8, 0.7))
    return folder


def place(image, phrase) -> np.ndarray:
    """Pixels of a phrase's colour, lines across included."""
    pixels = np.asarray(image)
    own = (pixels == COLORS[phrase]).all(-1)
    columns = own.any(0)
    return own | ((pixels == 128).all(-1) & columns)


class Boxes(BoxFinder):
    checkpoint = "boxes 1"

    def find(self, image, phrase):
        own = place(image, phrase)
        if not own.any():
            return []
        rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        width, height = image.size
        return [((columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height), 0.9)]


class Masks(Segmenter):
    checkpoint = "masks 1"

    def segment(self, image, box, phrase):
        inside = torch.zeros(image.height, image.width, dtype=torch.bool)
        x0, y0, x1, y1 = (round(v * side) for v, side in zip(box, image.size * 2))
        inside[y0:y1, x0:x1] = True
        return inside


class Points(KeypointFinder):
    """A row of points across the box, all sure; one of them far outside the picture."""

    checkpoint, keypoint_order = "points 1", "AP-10K"

    def keypoints(self, image, box, phrase):
        x0, y0, x1, y1 = box
        steps = torch.linspace(0.05, 0.95, 17)
        points = torch.stack([x0 + (x1 - x0) * steps, y0 + (y1 - y0) * (0.5 + steps / 3), torch.ones(17)], dim=1)
        points[16] = torch.tensor([1.5, -0.2, 1.0])
        if image.size[0] * (x1 - x0) > image.size[1]:  # alone: lying down
            points[:16, 1] = y0 + (y1 - y0) * 0.2
        return points


class Colors(Likeness):
    checkpoint = "colours 1"

    def features(self, images):
        means = [np.asarray(image, dtype=float).reshape(-1, 3).mean(0) - 250 for image in images]
        return torch.tensor(np.stack(means))


class Sentences(Captioner):
    checkpoint = "sentences 1"

    def caption(self, image, phrases, predicate):
        return f"a {phrases[0]} and a {phrases[1]} hug"


class Yes(RelationJudge):
    checkpoint = "yes 1"

    def probability(self, image, phrases, predicate):
        return 0.9 if all(place(image, phrase).any() for phrase in phrases) else 0.2


CLASSES = {"boxes": Boxes, "masks": Masks, "keypoints": Points, "captions": Sentences, "judge": Yes, "likeness": Colors}


def choices(loads=None, **changes) -> dict[str, Choice | None]:
    """The annotators by role; `loads` collects who was loaded. A change is a class, or None."""

    def choice(role, made):
        def load():
            if loads is not None:
                loads.append(role)
            return made()

        return Choice(role, made.checkpoint, load, getattr(made, "keypoint_order", None))

    return {role: None if made is None else choice(role, made) for role, made in {**CLASSES, **changes}.items()}


def annotated(folder: Path, pictures: Path, loads=None, thresholds=None, prompt=None, **changes) -> WorkFolder:
    """A work folder after the stage filter."""
    work = WorkFolder(folder)
    keep_pictures(work, read_pictures(pictures, ["cat", "dog"], "hugging", prompt))
    annotate(work, choices(loads, **changes), thresholds or Thresholds())
    return work


def decide(work: WorkFolder, *lines: dict) -> None:
    """Add lines to `decisions.jsonl`."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with open(work.root / "decisions.jsonl", "a", encoding="utf-8") as file:
        file.write(text)
