"""How well metrics tell right from wrong where the truth is known.

`python -m training.miniature.measure.metric_validity`: every case is rendered five times: as it should be; in another
relation; with its characters exchanged; with one of them replaced by a stranger; and as a collage of its photos. What
is right of a picture is known, so a metric has an AUC for right against wrong ones: 1 tells them apart always, 0.5
never. The judges of the drawn world stand in the last rows: they are asked the truth, metrics are not.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from relationbooth_pipeline.evaluation.cases import Case, CaseFile
from relationbooth_pipeline.evaluation.metrics import MINIATURE, MetricOptions, plan_metrics
from relationbooth_pipeline.evaluation.statistics import auc

from ..stages.image_prompts import image_prompt
from ..world.captions import PREDICATES, make_caption
from ..world.poses import RELATIONS
from ..world.rendering import BACKGROUNDS, render
from ..world.splits import held_out_characters, known_poses

VARIANTS = ("right", "other relation", "exchanged", "stranger", "collage")
# question → (variants that are right, variants that are wrong)
QUESTIONS = {
    "relation": (("right",), ("other relation",)),
    "collage": (("right",), ("collage",)),
    "exchange": (("right",), ("exchanged",)),
    "stranger": (("right",), ("stranger",)),
}
PHOTOS = 3
RESAMPLES = 1000


def draw_case(number: int, folder: Path) -> tuple[Case, list[Image.Image]]:
    """A pair's case, its photos written to `folder`, and its picture in each of `VARIANTS`."""
    rng = random.Random(f"metric validity/{number}")
    first, second, stranger = rng.sample(held_out_characters(), 3)
    pose, background = rng.choice(known_poses(RELATIONS)), rng.choice(tuple(BACKGROUNDS))
    other = rng.choice([name for name in known_poses(RELATIONS) if name != pose])
    seed = rng.randrange(2**31)

    def drawn(characters, relation):
        return render(characters, relation, background, random.Random(seed), swapped=False)

    right = drawn([first, second], pose)
    pictures = [right, drawn([first, second], other), drawn([second, first], pose), drawn([first, stranger], pose)]
    names = []
    for at, character in enumerate((first, second)):
        names.append(tuple(f"{number}-{at}-{k}.png" for k in range(PHOTOS)))
        for name in names[-1]:
            image_prompt(character, rng).save(folder / name)
    caption = make_caption([first, second], pose, background, "species")
    boxes = tuple(tuple(map(float, box)) for box in right.boxes)
    case = Case(
        id=f"case-{number}",
        prompt=caption.text,
        phrases=caption.phrases,
        references=tuple(names),
        generate_with=(0, 0),
        bench="metric-validity",
        objects=("first", "second"),
        predicate=PREDICATES[pose].removeprefix("is "),
        boxes=boxes,
    )
    collage = Image.new("RGB", (right.image.shape[1], right.image.shape[0]), "white")
    for name, box in zip((group[0] for group in names), boxes):
        x0, y0, x1, y1 = (round(v * collage.width) for v in box)
        collage.paste(Image.open(folder / name).resize((x1 - x0, y1 - y0)), (x0, y0))
    return case, [Image.fromarray(scene.image) for scene in pictures] + [collage]


def validity(count: int) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Column → question → (AUC, low, high), 95 % bootstrap over cases."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        drawn = [draw_case(number, folder) for number in range(count)]
        cases = CaseFile(tuple(case for case, _ in drawn), folder).check()
        metrics = plan_metrics(MetricOptions(clip=MINIATURE, dino=MINIATURE), cases, folder)()
        figures: dict[str, list[list[float]]] = {}
        for case, pictures in drawn:
            for metric in metrics:
                better = {column.name: 1 if column.higher_is_better else -1 for column in metric.columns}
                for name, values in metric.score(cases, case, pictures).items():
                    figures.setdefault(name, []).append([better[name] * value.figure for value in values])
    return {name: _by_question(np.array(rows, float)) for name, rows in figures.items()}


def _by_question(rows: np.ndarray) -> dict[str, tuple[float, float, float]]:
    rng, found = np.random.default_rng(0), {}
    for question, (right, wrong) in QUESTIONS.items():
        columns = [[VARIANTS.index(name) for name in names] for names in (right, wrong)]

        def told(chosen: Sequence[int], columns=columns) -> float:
            return auc(*(rows[np.ix_(chosen, part)].ravel() for part in columns))

        draws = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
        low, high = np.percentile([told(draw) for draw in draws], (2.5, 97.5))
        found[question] = (told(range(len(rows))), float(low), float(high))
    return found


def table_text(found: dict[str, dict[str, tuple[float, float, float]]]) -> str:
    lines = ["| metric | " + " | ".join(QUESTIONS) + " |", "|---" * (len(QUESTIONS) + 1) + "|"]
    for name, by_question in found.items():
        cells = [f"{v:.2f} [{low:.2f}, {high:.2f}]" for v, low, high in by_question.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=150, help="cases; five pictures each")
    given = parser.parse_args(arguments)
    print(table_text(validity(given.count)))


if __name__ == "__main__":
    main()
