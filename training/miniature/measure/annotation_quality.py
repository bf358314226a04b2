"""How well annotators read plain pictures of the drawn world, against its exact annotations.

    python -m training.miniature.measure.annotation_quality hugging shaking_hands --count 40

Draws triplets, takes their annotations away, sends the pictures through the stages find … filter, and compares.
"""

import argparse
import csv
import json
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from relationbooth_pipeline.triplets import Triplet, read_triplets
from relationbooth_pipeline.triplets.annotation import Thresholds, annotate, keep_pictures
from relationbooth_pipeline.triplets.annotators import ALL_MINIATURE, Choice, choose_all
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.photos import read_pictures
from relationbooth_pipeline.vision.detectors import overlap

from ..world.triplets import write_triplets


@dataclass(frozen=True)
class Quality:
    """Figures of one pose.

    Attributes:
        triplets: compared. box_iou: mean intersection over union in the targets, 0 for a missing box. missing: boxes.
        exchanged: triplets whose boxes overlap the other's more than their own. keypoints: mean distance of
            visible keypoints of found objects, in units of the exact box's longer side, in targets and image prompts.
        accepted: by the filters. refused: how often by each rule.
    """

    triplets: int
    box_iou: float
    missing: int
    exchanged: int
    keypoints: float
    accepted: int
    refused: dict[str, int]


def measure(pose: str, count: int, choices: dict[str, Choice | None], folder: Path, seed: int = 0) -> Quality:
    """Draw, annotate and compare `count` triplets whose two animals have different names.

    Args:
        choices: by role, see `choose_all`. folder: a new or empty one, for pictures and records.
    """
    exact = distinct_triplets(pose, count, folder / "exact", seed)
    work = annotated(exact, choices, folder)
    return compared(exact, work)


def distinct_triplets(pose: str, count: int, folder: Path, seed: int = 0) -> list[Triplet]:
    """Exactly annotated ones; one in eight pairs shares its species, and no phrase would tell those apart."""
    drawn, found = count // 4, []
    while len(found) < count:
        drawn += count - len(found)
        write_triplets(folder, pose, drawn, seed)
        found = [t for t in read_triplets(folder) if len(set(t.phrases)) == len(t.phrases)]
    return found[:count]


def annotated(exact: list[Triplet], choices: dict[str, Choice | None], folder: Path) -> WorkFolder:
    """The work folder `folder`/work of the same pictures, without their annotations, after all stages."""
    rows = [("target", "objects", "phrases", "predicate", "prompt")]
    for t in exact:
        objects = ";".join(str(file.resolve()) for file in t.image_prompts)
        rows.append((str(t.image.resolve()), objects, ";".join(t.phrases), t.predicate, t.prompt))
    with open(folder / "pictures.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    work = WorkFolder(folder / "work")
    keep_pictures(work, read_pictures(folder / "pictures.csv"))
    annotate(work, choices, Thresholds())
    return work


def compared(exact: list[Triplet], work: WorkFolder) -> Quality:
    """Records of a work folder against exact triplets, found by their targets' names."""
    shares, distances, missing, exchanged = [], [], 0, 0
    for triplet in exact:
        name = triplet.image.stem
        find, keypoints = work.record("find", name), work.record("keypoints", name)
        boxes = [None if k is None else f[k][:4] for f, k in zip(find["target"], find["taken"]["target"])]
        true = triplet.boxes.tolist()
        own = [0.0 if box is None else overlap(box, place) for box, place in zip(boxes, true)]
        other = [0.0 if box is None else overlap(box, place) for box, place in zip(boxes, true[::-1])]
        shares += own
        missing += boxes.count(None)
        exchanged += len(true) > 1 and sum(other) > sum(own)
        for part, wanted in (("target", triplet.keypoints), ("objects", triplet.image_prompt_keypoints)):
            for i, taken in enumerate(find["taken"][part]):
                seen = wanted[i, :, 2] > 0
                if taken is None or not seen.any():
                    continue
                if part == "target":
                    side = float((triplet.boxes[i, 2:] - triplet.boxes[i, :2]).max())
                else:  # a triplet keeps no box of the image prompts: that around the found one
                    box = find["objects"][i][taken]
                    side = max(box[2] - box[0], box[3] - box[1])
                points = torch.tensor(keypoints[part][i])[seen, :2]
                distances += ((points - wanted[i, seen, :2]).norm(dim=-1) / side).tolist()
    records = [work.record("filter", triplet.image.stem) for triplet in exact]
    refused = Counter(rule for record in records for rule in {reason["rule"] for reason in record["reasons"]})
    return Quality(
        triplets=len(exact),
        box_iou=sum(shares) / len(shares),
        missing=missing,
        exchanged=exchanged,
        keypoints=sum(distances) / max(len(distances), 1),
        accepted=sum(record["accepted"] for record in records),
        refused=dict(refused.most_common()),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("poses", nargs="+")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    choices = choose_all(ALL_MINIATURE)
    for pose in given.poses:
        with tempfile.TemporaryDirectory() as folder:
            quality = measure(pose, given.count, choices, Path(folder), given.seed)
            print(pose, json.dumps(asdict(quality)), flush=True)


if __name__ == "__main__":
    main()
