"""A bench of noise photos: two objects, three photos each, cases with one and two objects."""

from pathlib import Path

from relationbooth_pipeline.evaluation.cases import Case, CaseFile, read_cases, write_cases
from tests.tiny import photo

BOXES = ((0.0, 0.1, 0.5, 0.9), (0.5, 0.1, 1.0, 0.9))


def pair(case_id: str = "pair", **changes) -> Case:
    fields = {
        "id": case_id,
        "prompt": "a cat is hugging a bear on the beach",
        "phrases": ("cat", "bear"),
        "references": (("cat/0.png", "cat/1.png"), ("bear/0.png", "bear/1.png", "bear/2.png")),
        "generate_with": (1, 0),
        "bench": "tiny",
        "predicate": "hugging",
        "boxes": BOXES,
    }
    return Case(**{**fields, **changes})


def single(case_id: str = "single", **changes) -> Case:
    fields = {
        "id": case_id,
        "prompt": "a dog is sleeping on the beach",
        "phrases": ("dog",),
        "references": (("cat/0.png", "cat/1.png"),),
        "generate_with": (0,),
        "bench": "tiny",
        "boxes": BOXES[:1],
    }
    return Case(**{**fields, **changes})


def write_bench(folder: Path, cases=None) -> CaseFile:
    """Photos, and `cases.jsonl`: two pairs and two single cases unless others are given."""
    for number, (name, count) in enumerate((("cat", 2), ("bear", 3))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            photo(10 * number + k).save(folder / name / f"{k}.png")
    cases = cases or [pair("pair-0"), pair("pair-1"), single("single-0"), single("single-1")]
    return read_cases(write_cases(cases, folder, folder / "cases.jsonl"))
