"""Write the miniature bench, the cases that ship with the package: `python -m training.miniature.bench`.

Held-out characters do everything in the world's edition that ships. Every character has photos in other actions; boxes
are those of a render of the case itself, so that no detector is needed to know who should stand where.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from relationbooth_pipeline.evaluation.benches.miniature import FOLDER
from relationbooth_pipeline.evaluation.cases import CASES, Case, write_cases
from relationbooth_pipeline.relation_files import whole_folder

from .stages.image_prompts import image_prompt
from .world.captions import PREDICATES, make_caption
from .world.poses import RELATIONS
from .world.rendering import BACKGROUNDS, render
from .world.splits import held_out_characters, known_poses

CHARACTERS = 12
PHOTOS = 4  # of each character
CASES_OF_A_POSE = 10


def choose_characters(count: int = CHARACTERS) -> list:
    """Held-out characters, species in turn, so that a pair rarely shares its noun."""
    rng = random.Random("miniature bench/characters")
    by_species: dict[str, list] = {}
    for character in held_out_characters():
        by_species.setdefault(character.species, []).append(character)
    chosen: list = []
    while len(chosen) < count:
        for species in sorted(by_species):
            if len(chosen) < count and by_species[species]:
                chosen.append(by_species[species].pop(rng.randrange(len(by_species[species]))))
    return chosen


def name_of(character) -> str:
    return character.key.replace("/", "-")


def write_bench(folder: Path) -> list[Case]:
    """Write photos and `cases.jsonl` to `folder`, whole or not at all; gives the cases."""
    characters, cases = choose_characters(), []
    with whole_folder(folder, replace=True) as fresh:
        save_photos(fresh, characters)
        for pose in known_poses():
            for number in range(CASES_OF_A_POSE):
                cases.append(draw_case(pose, number, characters))
        write_cases(cases, fresh, fresh / CASES)
    return cases


def save_photos(folder: Path, characters: Sequence) -> None:
    """`PHOTOS` of each character, in other actions, to `folder`/name_of(character)."""
    for character in characters:
        rng = random.Random(f"miniature bench/photos/{character.key}")
        place = folder / name_of(character)
        place.mkdir()
        for number in range(PHOTOS):
            image_prompt(character, rng).save(place / f"{number}.png", optimize=True)


def draw_case(pose: str, number: int, characters: list) -> Case:
    rng = random.Random(f"miniature bench/{pose}/{number}")
    return case_of(pose, number, rng.sample(characters, 2 if pose in RELATIONS else 1), rng)


def case_of(pose: str, number: int, who: Sequence, rng: random.Random) -> Case:
    """These characters in a pose, before a background and with photos that `rng` draws."""
    background = rng.choice(tuple(BACKGROUNDS))
    caption = make_caption(list(who), pose, background, "species")
    boxes = render(list(who), pose, background, rng).boxes
    return Case(
        id=f"{pose}-{number:02d}",
        prompt=caption.text,
        phrases=caption.phrases,
        references=tuple(tuple(f"{name_of(c)}/{i}.png" for i in range(PHOTOS)) for c in who),
        generate_with=tuple(rng.randrange(PHOTOS) for _ in who),
        bench="miniature-single" if len(who) == 1 else "miniature-multi",
        objects=tuple(name_of(c) for c in who),
        predicate=PREDICATES[pose].removeprefix("is "),
        boxes=tuple(tuple(round(float(v), 4) for v in box) for box in boxes),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=FOLDER, help="default: the package's own")
    given = parser.parse_args(arguments)
    print(f"{given.output_dir}: {len(write_bench(given.output_dir))} cases")


if __name__ == "__main__":
    main()
