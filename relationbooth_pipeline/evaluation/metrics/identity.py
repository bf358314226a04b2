"""Who is who: likeness of each object's crop to each object's photos; exchanged, mixed and lost objects show."""

import itertools
from collections.abc import Callable, Sequence

import torch
from PIL import Image

from ...vision.detectors import Found, crop, overlap
from ..cases import Case, CaseFile
from .detection import Finder
from .features import FeatureStore
from .metric import Column, Metric, Value
from .similarity import PROTOCOLS, check_protocol, photo_features


class CropIdentity(Metric):
    """The identity matrix S, S_ij = likeness of the crop found for object i to the photos of object j.

    Args:
        stores: name of the whole-picture column → features; each gets a "crop …" column. The matrix is read from the
            last of them.
    """

    def __init__(self, stores: dict[str, FeatureStore], finder: Finder, protocol: str = "relationbench"):
        check_protocol(protocol)
        self.stores, self.finder = stores, finder
        _, self.scaled, _, scale = PROTOCOLS[protocol]
        self.columns, found_by = (), f"found by {finder.checkpoint}"
        for name, store in stores.items():
            common = {"checkpoint": store.tower.checkpoint, "preprocessing": store.tower.preprocessing}
            pairing = f"each object's crop ({found_by}) : its own photos; mean over photos, then objects"
            self.columns += (
                Column(
                    f"crop {name}",
                    "Likeness of each object's crop to its own photos; 0 for an object that is not found.",
                    scale=f"{scale} ({protocol})",
                    pairing=pairing,
                    **common,
                ),
            )
        matrix = f"crops ({found_by}) × objects, mean over photos"
        self.columns += (
            Column("assigned", "1 when no exchange of the objects fits their crops as well.", pairing=matrix,
                   scale="0 or 1; 0 when one is not found", **common),
            Column("margin", "How much more each crop is like its own object than like the others.", pairing=matrix,
                   scale=f"mean S_ii − mean S_ij, {scale} ({protocol})", **common),
        )  # fmt: skip
        if finder.by_name:  # given boxes are never missing
            self.columns += (
                Column(
                    "missing",
                    "Objects that are not found.",
                    checkpoint=finder.checkpoint,
                    scale="share of objects",
                    higher_is_better=False,
                ),
            )
            meaning = "Overlap of found and given boxes; an object that is not found counts 0."
            self.columns += (Column("box mIoU", meaning, checkpoint=finder.checkpoint, scale="0 to 1"),)

    def score(self, cases: CaseFile, case: Case, pictures: Sequence[Image.Image]) -> dict[str, list[Value]]:
        found = {column.name: [] for column in self.columns}
        photos = {name: photo_features(store, cases, case) for name, store in self.stores.items()}
        for picture in pictures:
            for name, value in self._of_picture(case, picture, photos).items():
                found[name].append(value)
        return found

    def _of_picture(self, case: Case, picture: Image.Image, photos: dict) -> dict[str, Value]:
        if not self.finder.by_name and case.boxes is None:
            reason = "the case gives no boxes, and no detector was named"
            return {column.name: Value(None, reason) for column in self.columns}
        places = self.finder.find(case, picture)
        there = [i for i, place in enumerate(places) if place is not None]
        crops = [crop(picture, places[i].box) for i in there]
        values, matrix = {}, torch.zeros(0, len(places))
        for name, store in self.stores.items():
            if crops:
                seen = store.images(crops)
                matrix = torch.stack([(seen @ object_photos.T).mean(1) for object_photos in photos[name]], 1)
            own = [self.scaled(matrix[row, i].item()) for row, i in enumerate(there)]
            values[f"crop {name}"] = Value(sum(own) / len(places))
        same = self.finder.by_name and case.boxes is None and len(set(case.phrases)) < len(case.phrases)
        values |= self._exchange(matrix, there, len(places), same)
        if self.finder.by_name:
            values["missing"] = Value((len(places) - len(there)) / len(places))
            values["box mIoU"] = box_overlap(places, case.boxes)
        return values

    def _exchange(self, matrix: torch.Tensor, there: list[int], count: int, same: bool) -> dict[str, Value]:
        if count < 2 or same:
            reason = "two objects of one phrase, without boxes" if same else "one object cannot be exchanged"
            return {name: Value(None, reason) for name in ("assigned", "margin")}
        if len(there) < count:
            note = f"{count - len(there)} object(s) not found"
            return {"assigned": Value(0.0, note), "margin": Value(None, note)}
        return {"assigned": Value(assigned(matrix)), "margin": Value(margin(matrix, self.scaled))}


def assigned(matrix: torch.Tensor) -> float:
    """1 when the identity is the best assignment of (N, N) likenesses, and no other is as good."""
    count = len(matrix)
    sums = {
        order: sum(matrix[i, j].item() for i, j in enumerate(order)) for order in itertools.permutations(range(count))
    }
    own = sums.pop(tuple(range(count)))
    return float(own > max(sums.values()))


def margin(matrix: torch.Tensor, scaled: Callable[[float], float] = float) -> float:
    """Mean of an (N, N) matrix's diagonal minus mean of the rest, on the column's scale."""
    count = len(matrix)
    own = sum(scaled(matrix[i, i].item()) for i in range(count)) / count
    others = [scaled(matrix[i, j].item()) for i in range(count) for j in range(count) if i != j]
    return own - sum(others) / len(others)


def box_overlap(places: Sequence[Found | None], boxes: Sequence[Sequence[float]] | None) -> Value:
    """Mean intersection over union of found and given boxes."""
    if boxes is None:
        return Value(None, "the case gives no boxes")
    return Value(sum(overlap(f.box, box) if f else 0.0 for f, box in zip(places, boxes)) / len(boxes))
