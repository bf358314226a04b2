"""CLIP-T, CLIP-R, CLIP-I, DINO and M-DINO of whole pictures, by one of two published protocols."""

from collections.abc import Sequence

import torch
from PIL import Image

from ..cases import Case, CaseFile, case_predicate
from .features import FeatureStore
from .metric import Column, Metric, Value

# protocol → (what it makes of a text's cosine, of a photo's cosine, both in words)
PROTOCOLS = {
    # RelationBooth, Tables 1 to 8
    "relationbench": (lambda cos: 100 * cos, lambda cos: 100 * cos, "100·cos", "100·cos"),
    # CustomConcept101's evaluation: CLIPScore's 2.5·max(cos, 0) for texts, the bare cosine for pictures
    "custom-diffusion": (lambda cos: 2.5 * max(cos, 0.0), lambda cos: cos, "2.5·max(cos, 0)", "cos"),
}


def check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.")


class TextAlignment(Metric):
    """Picture against prompt (CLIP-T) and against the predicate alone (CLIP-R; RelationBooth, 4)."""

    def __init__(self, store: FeatureStore, protocol: str = "relationbench", predicate_rule: str = "with_object"):
        check_protocol(protocol)
        self.store, self.rule = store, predicate_rule
        self.scaled, _, scale, _ = PROTOCOLS[protocol]
        self.checkpoint, shared = store.tower.checkpoint, f"{scale} ({protocol})"
        common = {"checkpoint": self.checkpoint, "preprocessing": store.tower.preprocessing, "scale": shared}
        self.columns = (
            Column("CLIP-T", "Agreement of picture and prompt.", pairing="picture : prompt", **common),
            Column(
                "CLIP-R",
                "Agreement of picture and predicate alone; not defined for a case without one.",
                pairing=f"picture : predicate ({predicate_rule})",
                **common,
            ),
        )

    def score(self, cases: CaseFile, case: Case, pictures: Sequence[Image.Image]) -> dict[str, list[Value]]:
        seen = self.store.images(pictures)
        predicate, source = case_predicate(case, self.rule)
        texts = self.store.texts([case.prompt] + ([predicate] if predicate else []))
        cosines = (seen @ texts.T).tolist()
        found = {"CLIP-T": [Value(self.scaled(row[0])) for row in cosines]}
        if predicate:
            found["CLIP-R"] = [Value(self.scaled(row[1]), f"{predicate!r}, {source}") for row in cosines]
        else:
            found["CLIP-R"] = [Value(None, source)] * len(pictures)
        return found


def photo_features(store: FeatureStore, cases: CaseFile, case: Case) -> list[torch.Tensor]:
    """(photos, D) of each object: all its photos, whichever the system got."""
    return [
        store.photos([cases.photo(case, i, k) for k in range(len(photos))]) for i, photos in enumerate(case.references)
    ]


class ImageSimilarity(Metric):
    """Picture against all photos of each object: mean over photos, then over objects (CLIP-I, DINO).

    Args:
        name: of the column. product: also the product over objects of their similarities, which one lost object
            brings down (M-DINO).
    """

    def __init__(self, store: FeatureStore, name: str, protocol: str = "relationbench", product: bool = False):
        check_protocol(protocol)
        self.store, self.name, self.product = store, name, product
        _, self.scaled, _, scale = PROTOCOLS[protocol]
        common = {
            "checkpoint": store.tower.checkpoint,
            "preprocessing": store.tower.preprocessing,
            "scale": f"{scale} ({protocol})",
        }
        pairing = "picture : every photo; mean over photos, then "
        self.columns = (
            Column(
                name, "Likeness of the whole picture to the objects' photos.", pairing=pairing + "objects", **common
            ),
        )
        if product:
            text = "Likeness to every object at once: one lost object brings it down."
            product_pairing = pairing + "the product over objects of max(cos, 0)"
            self.columns += (Column(f"M-{name}", text, pairing=product_pairing, **common),)

    def score(self, cases: CaseFile, case: Case, pictures: Sequence[Image.Image]) -> dict[str, list[Value]]:
        seen = self.store.images(pictures)
        likeness = torch.stack([(seen @ photos.T).mean(1) for photos in photo_features(self.store, cases, case)], 1)
        found = {self.name: [Value(self.scaled(v)) for v in likeness.mean(1).tolist()]}
        if self.product:
            found[f"M-{self.name}"] = [Value(self.scaled(v)) for v in likeness.clamp(min=0).prod(1).tolist()]
        return found
