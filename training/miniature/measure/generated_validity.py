"""How well metrics tell right from wrong on pictures that systems drew.

`python -m training.miniature.measure.generated_validity RUN`: RUN is a folder of an evaluation of the drawn world, with
systems that differ. What is right of a generated picture is not known as it is of a render: it is what the judges of
the drawn world see, which learned from renders alone and share nothing with the towers of CLIP and DINO. So an AUC here
says how far a metric agrees with them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from relationbooth_pipeline.evaluation.cases import Case, CaseFile, read_cases
from relationbooth_pipeline.evaluation.metrics import MINIATURE, Scores, read_scores
from relationbooth_pipeline.evaluation.metrics.detection import Finder, detector
from relationbooth_pipeline.evaluation.statistics import auc
from relationbooth_pipeline.evaluation.systems import picture_path
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.relation_images import open_image

ATTRIBUTES = ("species", "color", "marking", "accessory")  # in the order of an object's name: cat-red-spotted-hat
TRUTH = "relation judged"
QUESTIONS = ("relation", "identity")
RESAMPLES = 1000
Interval = tuple[float, float, float]


def identity_right(judges: MiniatureJudges, finder: Finder, case: Case, picture) -> bool:
    """Whether everybody of the case is found and looks, to the judge of characters, as its name says in every word."""
    places = finder.find(case, picture)
    if any(place is None for place in places):
        return False
    pixels = np.stack([np.asarray(picture)] * len(places))
    seen, _ = judges.characters(pixels, np.array([place.box for place in places]))
    wanted = [dict(zip(ATTRIBUTES, name.split("-"))) for name in case.object_names]
    return all(seen[name][at] == said[name] for at, said in enumerate(wanted) for name in ATTRIBUTES)


def truths(root: Path, cases: CaseFile, scores: Scores) -> dict[str, dict[str, dict[str, list[bool]]]]:
    """Question → system → case → right or not, for each picture."""
    judges, finder = MiniatureJudges.load(), detector(MINIATURE, "cpu")()
    found = {question: {system: {} for system in scores.values} for question in QUESTIONS}
    for system, by_case in scores.values.items():
        for case in cases.cases:
            values = by_case.get(case.id)
            if values is None or values[TRUTH][0].figure is None:
                continue
            found["relation"][system][case.id] = [value.figure == 1 for value in values[TRUTH]]
            pictures = [open_image(picture_path(root, system, case.id, n)) for n in range(len(values[TRUTH]))]
            found["identity"][system][case.id] = [identity_right(judges, finder, case, p) for p in pictures]
    return found


def agreement(scores: Scores, truth: dict[str, dict[str, list[bool]]], column, resamples: int = RESAMPLES) -> Interval:
    """AUC of a column for right against wrong pictures of all systems: (value, low, high), bootstrap over cases.

    Raises:
        ValueError: no picture is right, or none is wrong.
    """
    sign = 1 if column.higher_is_better else -1
    by_case: dict[str, list[tuple[float, bool]]] = {}
    for system, cases in truth.items():
        for case, rights in cases.items():
            values = scores.values[system][case][column.name]
            told = [(sign * v.figure, right) for v, right in zip(values, rights) if v.figure is not None]
            by_case.setdefault(case, []).extend(told)
    groups = [group for group in by_case.values() if group]

    def of(chosen: Sequence[int]) -> float | None:
        told = [entry for at in chosen for entry in groups[at]]
        right, wrong = ([v for v, is_right in told if is_right is kind] for kind in (True, False))
        return auc(right, wrong) if right and wrong else None

    value = of(range(len(groups)))
    if value is None:
        raise ValueError(f"the pictures of {', '.join(truth)} are all right or all wrong. Compare systems that differ.")
    rng = np.random.default_rng(0)
    drawn = [of(rng.integers(0, len(groups), len(groups))) for _ in range(resamples)]
    low, high = np.percentile([v for v in drawn if v is not None], (2.5, 97.5))
    return value, float(low), float(high)


def table(root: Path, half: int | None = None) -> str:
    """Markdown: every column's agreement with the judges, and how many pictures were right."""
    document = json.loads((root / "run.json").read_text(encoding="utf-8"))
    cases = read_cases(document["bench"])
    chosen = [case for case in cases.cases if half is None or len(case.phrases) == half]
    cases = CaseFile(tuple(chosen), cases.folder, cases.all_cases)
    scores = read_scores(root, cases, document["systems"], document["pictures"], partial=True)
    found = truths(root, cases, scores)
    lines = ["| metric | " + " | ".join(QUESTIONS) + " |", "|---" * (len(QUESTIONS) + 1) + "|"]
    for column in scores.columns:
        if column.name != TRUTH:
            cells = [agreement(scores, found[question], column) for question in QUESTIONS]
            lines.append(f"| {column.name} | " + " | ".join(f"{v:.2f} [{a:.2f}, {b:.2f}]" for v, a, b in cells) + " |")
    for question in QUESTIONS:
        flat = [right for by_case in found[question].values() for rights in by_case.values() for right in rights]
        lines.append(f"\n{question}: {sum(flat)} of {len(flat)} pictures right")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished evaluation of the drawn world")
    parser.add_argument("--objects", type=int, choices=(1, 2), help="only cases with so many; default: all")
    given = parser.parse_args(arguments)
    print(table(given.run, given.objects))


if __name__ == "__main__":
    main()
