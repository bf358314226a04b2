"""Do the judges see what a person sees? `python -m training.miniature.measure.agreement`.

Generated pictures of mixed rows (base, adapter, adapter and RelationLoRA) were looked at by eye before any judge saw
them: is the relation there, is the drawing broken, are the species right? The answers are in `run_log/eyes.json`, the
pictures side by side in `run_log/eyes.jpg`. After the first look of 60 two kinds of damage were added to what judges
learn; the second look, 40 other pictures, is untouched by that. `eyes_2` is the first look at edition 2 of the world,
by weights before those that ship; `eyes_3` at those that ship, after the judges were final. What is broken in these
was asked a second time, pictures and question alone in view: a person agrees with oneself as far as that.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from relationbooth_pipeline.miniature.judges import MiniatureJudges

LISTS = ("eyes", "eyes_2", "eyes_3")  # the names of a JSON list and of a JPEG sheet
FOLDER = Path(__file__).parents[2] / "run_log"
CELL = 128  # pixels
QUESTIONS = ("relation", "broken", "species")
AGAIN = "broken again"  # the same person's second answer, where there is one


def looked_at(name: str = LISTS[0], folder: Path = FOLDER) -> tuple[list[dict], np.ndarray]:
    """(what the person said of each picture, (B, 128, 128, 3) uint8) of one of `LISTS`."""
    listed = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    sheet = np.asarray(Image.open(folder / f"{name}.jpg").convert("RGB"))
    columns = sheet.shape[1] // CELL
    cells = [(CELL * (index // columns), CELL * (index % columns)) for index in range(len(listed))]
    return listed, np.stack([sheet[y : y + CELL, x : x + CELL] for y, x in cells])


def judged(judges: MiniatureJudges, listed: list[dict], pictures: np.ndarray) -> list[dict[str, bool]]:
    """The same questions, answered by the judges; where no boxes said who stands where, either order is right."""
    seen, answers = judges.look(pictures), []
    for index, line in enumerate(listed):
        wanted = [character.split("/")[0] for character in line["characters"]]
        boxes = np.array(line["boxes"]) if line["placed"] else seen.boxes[index, : len(wanted)].numpy()
        values, _ = judges.characters(np.repeat(pictures[index : index + 1], len(wanted), 0), boxes)
        orders = [wanted] if line["placed"] else [wanted, wanted[::-1]]
        answers.append(
            {
                "relation": seen.poses[index] == line["pose"],
                "broken": bool(seen.broken[index] > 0.5),
                "species": values["species"] in orders,
                "pose": seen.poses[index],
            }
        )
    return answers


def agreement(listed: list[dict], answers: list[dict]) -> dict[str, float]:
    """{question: share of pictures on which person and judges agree}."""
    return {name: float(np.mean([a[name] == b[name] for a, b in zip(listed, answers)])) for name in QUESTIONS}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", help="folder of trained judges; default: the shipped ones")
    parser.add_argument("--pictures", choices=LISTS, default=LISTS[0], help="all but eyes want judges of edition 2")
    given = parser.parse_args(arguments)
    listed, pictures = looked_at(given.pictures)
    answers = judged(MiniatureJudges.load(given.judges), listed, pictures)
    numbered = enumerate(zip(listed, answers))
    for index, (line, answer) in numbered:
        differing = [name for name in QUESTIONS if line[name] != answer[name]]
        if differing:
            said = ", ".join(f"{name}: person {line[name]}, judges {answer[name]}" for name in differing)
            print(f"{index} {line['row']}, {line['pose']} (judged {answer['pose']}): {said}")
    for look in sorted({line["look"] for line in listed}):
        pairs = [(line, answer) for line, answer in zip(listed, answers) if line["look"] == look]
        found = agreement([line for line, _ in pairs], [answer for _, answer in pairs])
        print(f"look {look}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    twice = [(line["broken"], line[AGAIN], answer["broken"]) for line, answer in zip(listed, answers) if AGAIN in line]
    if twice:
        sure = [(first, answer) for first, again, answer in twice if first == again]
        print(
            f"looked at twice: broken, the person with themselves {len(sure) / len(twice):.3f}, the judges where both "
            f"looks agree {np.mean([first == answer for first, answer in sure]):.3f}"
        )


if __name__ == "__main__":
    main()
