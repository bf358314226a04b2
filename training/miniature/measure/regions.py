"""Whose region is this? Zero-shot reading of local features on scenes of the world, before and after distillation.

    python -m training.miniature.measure.regions --image_encoder PLAIN DISTILLED \
        --text_encoder FOLDER --tokenizer FOLDER

A cell of the grid that one character covers by more than half is named by the phrase whose embedding is nearest to the
cell's pooled feature. The vision tower's and the second text encoder's projections share one space as stage "encoders"
leaves them; stage "base" trains the text encoder on: the shipped one fits less well and flatters the distilled tower.
"""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.relation_images import clip_pixels
from relationbooth_pipeline.relation_loaders import load_model

from ...encoder.crop_pictures import crop
from ...encoder.distillation import grid_cells
from ..world.identities import COLORS, SPECIES
from ..world.poses import RELATIONS
from ..world.scenes import draw_scene
from ..world.tokenizer import tokenize

COVERED = 0.5  # share of a cell that its character covers at least
RESAMPLES = 2000  # of scenes, for the intervals
BATCH = 16  # pictures at a time
CLASSES = {"species": SPECIES, "color": tuple(COLORS)}


@dataclass
class Cells:
    """Named cells of many scenes. Attributes: scene, cell: (C,) numbers; targets: {attribute: (C,) class numbers}."""

    scene: torch.Tensor
    cell: torch.Tensor
    targets: dict[str, torch.Tensor]


def draw_cells(count: int, grid: int, size: int, seed: int) -> tuple[list[Image.Image], Cells]:
    """`count` scenes of two held-out characters that differ in species and colour, and the cells one of them covers.

    Args:
        size: side of a picture, pixels.
    """
    pictures, rows = [], []
    for number in range(count):
        rng = random.Random(f"regions {seed} {number}")
        while True:
            scene = draw_scene(rng, held_out=True, of=RELATIONS, size=size, annotate=True)
            first, second = scene.characters
            if first.species != second.species and first.color != second.color:
                break
        pictures.append(Image.fromarray(scene.image))
        masks = torch.from_numpy(scene.masks).float()[None]
        cover = F.interpolate(masks, (grid, grid), mode="area")[0].flatten(1)  # (N, k·k), row by row
        for character, shares in zip(scene.characters, cover):
            classes = [CLASSES[name].index(getattr(character, name)) for name in CLASSES]
            rows += [(number, cell, *classes) for cell in (shares > COVERED).nonzero().flatten().tolist()]
    columns = torch.tensor(rows).T
    return pictures, Cells(columns[0], columns[1], dict(zip(CLASSES, columns[2:])))


@torch.no_grad()
def class_embeddings(text_encoder, tokenizer) -> dict[str, torch.Tensor]:
    """{attribute: (classes, E)}, unit length: a species is the mean over its colours' phrases, and the reverse."""
    phrases = [f"{color} {species}" for species in SPECIES for color in COLORS]
    embeds = F.normalize(text_encoder(tokenize(tokenizer, phrases)).text_embeds.float(), dim=-1)
    table = embeds.unflatten(0, (len(SPECIES), len(COLORS)))
    return {"species": F.normalize(table.mean(1), dim=-1), "color": F.normalize(table.mean(0), dim=-1)}


@torch.no_grad()
def local_features(encoder: LocalImageEncoder, pictures: list[Image.Image], grid: int, size: int) -> torch.Tensor:
    """Pooled projected features, (scenes, k·k, E), cells row by row."""
    cells, features = grid_cells(grid, grid), []
    for first in range(0, len(pictures), BATCH):
        pixels = clip_pixels(pictures[first : first + BATCH], size, size)
        features.append(encoder(pixels, boxes=cells.expand(len(pixels), -1, -1), project=True))
    return torch.cat(features)


@torch.no_grad()
def crop_features(encoder, pictures: list[Image.Image], grid: int) -> torch.Tensor:
    """What the teacher sees in each cell's crop, as `local_features`."""
    cells, size = grid_cells(grid, grid).tolist(), encoder.config.image_size
    return torch.stack(
        [encoder(clip_pixels([crop(p, cell) for cell in cells], size, size)).image_embeds for p in pictures]
    )


def is_right(features: torch.Tensor, cells: Cells, classes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """{attribute: (C,) 1 where the nearest class is the cell's own}."""
    mine = F.normalize(features[cells.scene, cells.cell].float(), dim=-1)
    return {name: ((mine @ classes[name].T).argmax(-1) == cells.targets[name]).double() for name in classes}


def scene_interval(values: torch.Tensor, scene: torch.Tensor, seed: int = 0) -> tuple[float, float, float]:
    """(mean, lower, upper) in percent: a 95 % bootstrap interval over scenes, whose cells are not independent.

    Args:
        values: (C,), one per cell. scene: (C,), its scene.
    """
    number = scene.unique(return_inverse=True)[1]
    count = int(number.max()) + 1
    sums, sizes = (torch.zeros(count, dtype=torch.float64).index_add_(0, number, v.double())
                   for v in (values, torch.ones_like(values)))  # fmt: skip
    drawn = torch.randint(count, (RESAMPLES, count), generator=torch.Generator().manual_seed(seed))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return tuple(round(100 * value, 2) for value in (values.mean().item(), low, high))


def measure(encoders: list[str], text_encoder, tokenizer, scenes: int, grid: int, scale: int, seed: int) -> list[dict]:
    """One row for the first encoder's crops and one for each encoder: accuracies with intervals, and the difference to
    the first encoder, paired by cell."""
    classes = class_embeddings(text_encoder, tokenizer)
    teacher = load_model(CLIPVisionModelWithProjection, encoders[0], dtype=torch.float32).eval()
    size = scale * teacher.config.image_size
    pictures, cells = draw_cells(scenes, grid, size, seed)
    readings = {f"crops, {encoders[0]}": is_right(crop_features(teacher, pictures, grid), cells, classes)}
    for source in encoders:
        encoder = load_model(LocalImageEncoder, source, dtype=torch.float32).eval()
        readings[source] = is_right(local_features(encoder, pictures, grid, size), cells, classes)
    rows = []
    for name, right in readings.items():
        row = {"encoder": name, "cells": len(cells.scene), "input_size": size}
        for attribute, values in right.items():
            row[attribute] = scene_interval(values, cells.scene)
            row[f"{attribute}_difference"] = scene_interval(values - readings[encoders[0]][attribute], cells.scene)
        rows.append(row)
    return rows


def table(rows: list[dict]) -> str:
    """Markdown: top-1 accuracy in percent, [95 % interval]."""
    lines = [f"| {rows[0]['cells']} cells | " + " | ".join(f"{n} | against the first" for n in CLASSES) + " |"]
    lines.append("|---" * (1 + 2 * len(CLASSES)) + "|")
    for row in rows:
        values = [row[key] for name in CLASSES for key in (name, f"{name}_difference")]
        lines.append(f"| {row['encoder']} | " + " | ".join(f"{m:.1f} [{a:.1f}, {b:.1f}]" for m, a, b in values) + " |")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_encoder", nargs="+", required=True, help="folders; the first is compared against")
    parser.add_argument("--text_encoder", type=Path, required=True, help='text_encoder_2 of stage "encoders"')
    parser.add_argument("--tokenizer", type=Path, help="default: `tokenizer_2` beside the text encoder")
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--image_scale", type=int, default=4, help="side of the encoders' input, in native sides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="instead of a table")
    given = parser.parse_args(arguments)
    tokenizer = CLIPTokenizer.from_pretrained(given.tokenizer or given.text_encoder.parent / "tokenizer_2")
    text_encoder = load_model(CLIPTextModelWithProjection, given.text_encoder, dtype=torch.float32).eval()
    rows = measure(
        given.image_encoder, text_encoder, tokenizer, given.scenes, given.grid, given.image_scale, given.seed
    )
    print(json.dumps(rows, indent=1) if given.json else table(rows))


if __name__ == "__main__":
    main()
