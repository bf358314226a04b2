"""RelationBench: the paper's prompts and categories, and cases drawn from them, which are ours.

The 25 prompts are Table 9 of RelationBooth (appendix A.2). The authors' 44 objects are shown only as a figure and their
100 cases only counted, so both are declared as ours: `OBJECTS` names 44 folders of the two public sets in the paper's
five categories, and `draw_cases` draws from them with a stated seed. Figures on these cases are not the paper's.
"""

import random
from pathlib import Path

from ..cases import Case
from .folders import ImageFolder

# (template with {} for each object, predicate), in the order of Table 9
SINGLE_PROMPTS = (
    ("A {} is playing guitar on a park bench, serenading passersby.", "playing guitar"),
    ("A {} is playing piano in a grand hall filled with glowing chandeliers.", "playing piano"),
    ("A {} is eating dinner in a bustling restaurant with soft jazz playing in the background.", "eating dinner"),
    ("A {} is dancing in the moonlight on a rooftop terrace with a stunning city view.", "dancing"),
    ("A {} is lifting weights in a modern gym, pushing through an intense workout.", "lifting weights"),
    ("A {} is reading a book by the fireplace on a rainy evening.", "reading a book"),
    ("A {} is skiing down a steep slope in the Alps, with snowflakes falling gently.", "skiing"),
    ("A {} is sleeping peacefully in a hammock under the shade of a palm tree.", "sleeping"),
    ("A {} is cooking lunch in an open-air kitchen overlooking a lush green valley.", "cooking lunch"),
    ("A {} is singing on stage during a vibrant music festival with thousands of fans.", "singing"),
    ("A {} is riding a bike along the scenic countryside road during sunset.", "riding a bike"),
    ("A {} is riding a horse through a dense forest, surrounded by nature.", "riding a horse"),
    ("A {} is riding a motorbike on a winding mountain road, feeling the wind rush by.", "riding a motorbike"),
    ("A {} is playing soccer on a sandy beach, with a vibrant sunset in the background.", "playing soccer"),
)
MULTI_PROMPTS = (
    ("A {} is playing chess with a {} in a quiet park under the shade of a tree.", "playing chess with"),
    ("A {} is partner dancing with a {} in a vintage ballroom with live music playing.", "partner dancing with"),
    ("A {} is carrying a {} across a rushing river, carefully finding their steps.", "carrying"),
    ("A {} is fencing with a {} in an elegant arena, with spectators watching closely.", "fencing with"),
    ("A {} shakes hands with a {} at a formal awards ceremony after receiving a prize.", "shakes hands with"),
    ("A {} is kissing a {} in the rain under a large umbrella in a romantic city square.", "kissing"),
    ("A {} is playing basketball with a {} on a street court.", "playing basketball with"),
    ("A {} is wrestling with a {} in a championship ring.", "wrestling with"),
    ("A {} is hugging a {} in front of the mountain.", "hugging"),
    ("A {} is fighting with a {} in a garden.", "fighting with"),
    ("A {} is sitting back to back with a {} on a hilltop.", "sitting back to back with"),
)
# category → (set, folder, noun); sets: "dreambench" (google/dreambooth, dataset/), "cc101" (CustomConcept101)
OBJECTS = {
    "pets": (
        ("dreambench", "cat", "cat"), ("dreambench", "cat2", "cat"), ("dreambench", "dog", "dog"),
        ("dreambench", "dog2", "dog"), ("dreambench", "dog3", "dog"), ("dreambench", "dog5", "dog"),
        ("dreambench", "dog6", "dog"), ("dreambench", "dog7", "dog"), ("dreambench", "dog8", "dog"),
        ("cc101", "pet_cat1", "cat"), ("cc101", "pet_cat2", "cat"), ("cc101", "pet_cat3", "cat"),
        ("cc101", "pet_cat5", "cat"), ("cc101", "pet_dog1", "dog"), ("cc101", "pet_dog2", "dog"),
    ),
    "plushies": (
        ("dreambench", "bear_plushie", "plushie bear"), ("dreambench", "grey_sloth_plushie", "plushie sloth"),
        ("dreambench", "wolf_plushie", "plushie wolf"), ("cc101", "plushie_bunny", "plushie bunny"),
        ("cc101", "plushie_cow", "plushie cow"), ("cc101", "plushie_happysad", "plushie octopus"),
        ("cc101", "plushie_lobster", "plushie lobster"), ("cc101", "plushie_panda", "plushie panda"),
        ("cc101", "plushie_penguin", "plushie penguin"), ("cc101", "plushie_teddybear", "teddy bear"),
        ("cc101", "plushie_tortoise", "plushie tortoise"), ("cc101", "plushie_unicorn", "plushie unicorn"),
    ),
    "toys": (
        ("dreambench", "duck_toy", "duck toy"), ("dreambench", "monster_toy", "monster toy"),
        ("dreambench", "poop_emoji", "toy"), ("dreambench", "rc_car", "toy car"),
        ("dreambench", "robot_toy", "robot toy"), ("cc101", "toy_bear", "toy bear"),
        ("cc101", "toy_gnome", "toy gnome"), ("cc101", "toy_unicorn", "toy unicorn"),
    ),
    "people": (("cc101", "person_1", "person"), ("cc101", "person_2", "person"), ("cc101", "person_3", "person")),
    "cartoons": (
        ("dreambench", "red_cartoon", "cartoon devil"), ("cc101", "actionfigure_1", "action figure"),
        ("cc101", "actionfigure_2", "action figure"), ("cc101", "actionfigure_3", "figurine"),
        ("cc101", "toy_pikachu1", "pokemon toy"), ("cc101", "plushie_2", "pokemon plushie"),
    ),
}  # fmt: skip
SEED = 0
COUNT = 100  # cases of each half (RelationBooth, 4)


def draw_plan(seed: int = SEED, count: int = COUNT) -> list[tuple[str, int, tuple[tuple[str, int], ...]]]:
    """(half, prompt number from 1, (category, object number) of each object) of every case; needs no photo.

    Prompts come in turn, so their counts differ by one at most, and so do the categories' (of each role in a pair).
    Within a category the objects come in turn, in an order shuffled by the seed.
    """
    plan = []
    for half, prompts, first, objects in (("single", SINGLE_PROMPTS, 1, 1), ("multi", MULTI_PROMPTS, 15, 2)):
        rng = random.Random(f"relationbench/{half}/{seed}")  # a text seed does not depend on the interpreter
        roles = [_in_turn(tuple(OBJECTS), count, rng) for _ in range(objects)]
        numbers = {category: _cycle(len(found), rng) for category, found in OBJECTS.items()}
        for index in range(count):
            chosen: list[tuple[str, int]] = []
            for role in roles:
                candidate = (role[index], next(numbers[role[index]]))
                while candidate in chosen:
                    candidate = (role[index], next(numbers[role[index]]))
                chosen.append(candidate)
            plan.append((half, first + index % len(prompts), tuple(chosen)))
    return plan


def _in_turn(names: tuple[str, ...], count: int, rng: random.Random) -> list[str]:
    order: list[str] = []
    while len(order) < count:
        order += rng.sample(names, len(names))
    return order[:count]


def _cycle(count: int, rng: random.Random):
    while True:
        yield from rng.sample(range(count), count)


def draw_cases(dreambench: Path, cc101: Path, seed: int = SEED, count: int = COUNT) -> list[Case]:
    """RelationBench's cases on a user's own downloads.

    Args:
        dreambench: folder `dataset` of google/dreambooth. cc101: folder `benchmark_dataset` of CustomConcept101.
        count: cases of each half.
    Raises:
        ValueError: folders are missing; all of them are named.
    """
    sets = {"dreambench": ImageFolder(dreambench), "cc101": ImageFolder(cc101)}
    wanted = [entry for entries in OBJECTS.values() for entry in entries]
    missing = [f"{name}/{folder}" for name, folder, _ in wanted if not sets[name].has(folder)]
    if missing:
        raise ValueError(
            f"{len(missing)} of RelationBench's {len(wanted)} objects lie neither in `{dreambench}` nor in `{cc101}`: "
            f"{', '.join(missing)}. Give the folder `dataset` of google/dreambooth and `benchmark_dataset` of "
            "CustomConcept101."
        )
    cases, prompts = [], SINGLE_PROMPTS + MULTI_PROMPTS
    for number, (half, prompt, chosen) in enumerate(draw_plan(seed, count)):
        template, predicate = prompts[prompt - 1]
        entries = [OBJECTS[category][index] for category, index in chosen]
        photos = [sets[name].photos(folder) for name, folder, _ in entries]
        rng = random.Random(f"relationbench/photo/{seed}/{half}/{number}")
        cases.append(
            Case(
                id=f"{half}-{number % count:03d}-p{prompt:02d}-" + "-".join(folder for _, folder, _ in entries),
                prompt=template.format(*(noun for _, _, noun in entries)),
                phrases=tuple(noun for _, _, noun in entries),
                references=tuple(tuple(found) for found in photos),
                generate_with=tuple(rng.randrange(len(found)) for found in photos),
                bench=f"relationbench-{half}",
                objects=tuple(folder for _, folder, _ in entries),
                predicate=predicate,
            )
        )
    return cases
