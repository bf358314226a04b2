"""Every threshold of the filters, its reason and its source; written beside the data."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from ...relation_files import whole_file
from ..keypoints import SWAP_MARGIN

FILE = "thresholds.json"
OWN = "our choice, not measured on photos"


def _at(value: float, reason: str, source: str = OWN) -> float:
    return field(default=value, metadata={"reason": reason, "source": source})


@dataclass(frozen=True)
class Thresholds:
    """What each rule compares its figure with; all are numbers without a unit, most of them shares in [0, 1].

    `describe` gives each one's reason and source.
    """

    box_score: float = _at(
        0.3, "the detector is sure that the phrase's object is there", "GenEval; MIP-Adapter `data/subject_dataset.py`"
    )
    rival_score: float = _at(
        0.7, "no second box of the phrase has this share of the first's score: it could be the one that is meant"
    )
    rival_inside: float = _at(
        0.8,
        "a second box that shares this part of the smaller one is a part of the object, or a group, no rival",
        "MIP-Adapter: intersection over the smaller box",
    )
    box_area: float = _at(
        0.05,
        "in a smaller share of the picture nothing of an identity is seen",
        "MIP-Adapter takes .08, XVerse width / 20",
    )
    mask_in_box: float = _at(0.9, "the mask stays in its box: it did not run over into the other object")
    mask_fills_box: float = _at(
        0.25, "the mask is the object, not a part of it", "MIP-Adapter takes .6; objects that hold each other are cut"
    )
    mask_overlap: float = _at(0.3, "intersection over union: two masks of one object are no two objects")
    keypoint_score: float = _at(0.3, "a keypoint counts as seen", "documentation of ViTPose in transformers")
    keypoint_reach: float = _at(
        0.05, "so far outside its mask, as a share of the box's longer side, a seen keypoint may lie: masks end early"
    )
    keypoints_inside: float = _at(0.5, "share of an object's seen keypoints that lie in its own mask")
    keypoint_lead: float = _at(
        SWAP_MARGIN,
        "keypoints lie in their own masks by this share more than in any exchanged order; below its negative they are "
        "another's",
        "`keypoint_verdict`, also of `relationbooth triplets check`",
    )
    target_keypoints: float = _at(6, "seen keypoints of each object in the target: a pose, not a head")
    shared_keypoints: float = _at(
        4, "seen in the target and in the object's own picture: what the matching loss compares"
    )
    identity: float = _at(
        0.3, "cosine of the object's own picture and itself in the target", "DINO ViT-S/16's scale; " + OWN
    )
    identity_margin: float = _at(
        0.01,
        "it is more alike to itself than to any other object of the target",
        "UMO's ID-Conf, for any object; " + OWN,
    )
    copy_similarity: float = _at(0.95, "above it features are those of one picture")
    copy_pixels: float = _at(0.03, "below it, mean difference of 0 to 1, two crops have the same pixels")
    copy_keypoints: float = _at(
        0.02, "below it, as a share of the box's sides, shared keypoints lie in the same places: the same pose"
    )
    relation_yes: float = _at(0.5, "P(Yes) that the target shows the relation", "VQAScore's question")
    relation_no: float = _at(0.5, "P(Yes) below which an object's own picture shows it not", "VQAScore's question")

    def changed(self, settings: Iterable[str]) -> "Thresholds":
        """With some replaced, each given as NAME=NUMBER.

        Raises:
            ValueError: no such name, or no number.
        """
        known, values = [one.name for one in fields(self)], {}
        for setting in settings:
            name, _, text = setting.partition("=")
            if name not in known:
                raise ValueError(f"`--threshold` must be NAME=NUMBER with one of {', '.join(known)}, got {setting!r}.")
            try:
                values[name] = float(text)
            except ValueError as error:
                raise ValueError(f"`--threshold {name}` must be a number, got {text!r}.") from error
            if not abs(values[name]) < 1e6:
                raise ValueError(f"`--threshold {name}` must be a finite number, got {text!r}.")
        return replace(self, **values)

    def describe(self) -> dict[str, dict]:
        """{name: {"value", "reason", "source"}}."""
        values = asdict(self)
        return {one.name: {"value": values[one.name], **one.metadata} for one in fields(self)}

    @classmethod
    def read(cls, folder: Path) -> "Thresholds":
        """Those of `thresholds.json`.

        Raises:
            ValueError: it names others, as another version of this program does.
        """
        text = (folder / FILE).read_text(encoding="utf-8")
        values = {name: entry["value"] for name, entry in json.loads(text).items()}
        if {*values} != {one.name for one in fields(cls)}:
            raise ValueError(
                f"`{folder / FILE}` must name the thresholds of this version, but differs in "
                f"{', '.join(sorted({*values} ^ {one.name for one in fields(cls)}))}. Run `relationbooth triplets "
                "annotate` to its end."
            )
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write all of them, with reason and source, as `thresholds.json`."""
        text = json.dumps(self.describe(), indent=1, ensure_ascii=False) + "\n"
        file = folder / FILE
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            with whole_file(file) as temporary:
                temporary.write_text(text, encoding="utf-8")
