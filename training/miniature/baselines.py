"""The paper's Table 1 in small: `python -m training.miniature.baselines --output_dir DIR`.

Eight held-out characters alone and in eight pairs, all their photos; per-subject tuning (DreamBooth-LoRA, Textual
Inversion, Custom Diffusion) by the recipes of diffusers' scripts, relation inversion, and systems that tune nothing for
a subject. All go through the evaluation as any user's systems do; who is where is found by the drawn world's annotator,
since only some of them are told boxes. All that is finished is kept: a killed run goes on.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from relationbooth_pipeline import miniature
from relationbooth_pipeline.evaluation.cases import CASES, Case, write_cases
from relationbooth_pipeline.evaluation.engine import Run, RunOptions
from relationbooth_pipeline.evaluation.finishing import finish
from relationbooth_pipeline.evaluation.metrics import MINIATURE, MetricOptions
from relationbooth_pipeline.evaluation.systems import SystemOptions
from relationbooth_pipeline.evaluation.systems.subjects import CUSTOM_WEIGHTS, WORDS
from relationbooth_pipeline.generation.settings import GenerationSettings
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME, whole_file, whole_folder

from ..common.made_for import PIPELINE, made_for, weights_digest
from .bench import PHOTOS, case_of, choose_characters, name_of, save_photos
from .subjects import recipes
from .subjects.recipes import Subject
from .subjects.relation_embedding import train_relation_embedding
from .world.captions import PREDICATES, make_caption
from .world.poses import RELATIONS
from .world.rendering import BACKGROUNDS, IMAGE_SIZE, render
from .world.splits import held_out_characters, poses_of_kinds, training_character

CHARACTERS = 8
POSES = ("hugging", "shaking_hands", "dancing", "waving", "jumping")
CLASS_PICTURES = 24  # of each species, for prior preservation
SYSTEMS = (
    "ours", "adapter", "sdxl", "relation-words:{}/relation_words.json", "dreambooth:{}/dreambooth",
    "textual-inversion:{}/textual-inversion", "custom-diffusion:{}/custom-diffusion", "collage", "shuffled:ours",
)  # fmt: skip


def pairs_of(characters: Sequence) -> list[tuple]:
    """As many pairs as characters, each character in two, once on either side."""
    return [(a, b) for a, b in zip(characters, [*characters[1:], characters[0]])]


def write_cases_of(folder: Path, characters: Sequence, poses: Sequence[str]) -> list[Case]:
    """Every character in every action and every pair in every relation of `poses`, with photos, to `folder`."""
    cases = []
    with whole_folder(folder, replace=True) as fresh:
        save_photos(fresh, characters)
        for pose in poses:
            groups = pairs_of(characters) if pose in RELATIONS else [(character,) for character in characters]
            draws = (random.Random(f"baselines/{pose}/{number}") for number in range(len(groups)))
            cases += [case_of(pose, number, who, rng) for number, (who, rng) in enumerate(zip(groups, draws))]
        write_cases(cases, fresh, fresh / CASES)
    return cases


def subject_of(character, bench: Path) -> Subject:
    """A character as recipes see it: all its photos, and renders of others of its species with their captions."""
    rng, pictures, prompts = random.Random(f"class pictures/{character.species}"), [], []
    while len(pictures) < CLASS_PICTURES:
        other = training_character(rng)
        if other.species == character.species:
            pose, background = rng.choice(poses_of_kinds("a", of=_actions())), rng.choice(tuple(BACKGROUNDS))
            pictures.append(Image.fromarray(render([other], pose, background, rng, annotate=False).image))
            prompts.append(make_caption([other], pose, background, "species").text)
    photos = [Image.open(bench / name_of(character) / f"{i}.png").convert("RGB") for i in range(PHOTOS)]
    return Subject(name_of(character), character.species, photos, pictures, prompts)


def trainings(
    pipe: StableDiffusionXLPipeline, root: Path, subjects: Sequence[Subject], runs: dict[str, recipes.Tuning]
) -> Iterator[str]:
    """Every training that is not there yet, one after the other; yields the name of each that is finished.

    Args:
        runs: "dreambooth", "textual-inversion", "custom-diffusion" → its numbers.
    """
    alone = [(subject,) for subject in subjects]
    plan = [
        *((recipes.dreambooth_lora, who, "dreambooth", LORA_WEIGHT_NAME) for who in alone),
        *((recipes.textual_inversion, who, "textual-inversion", WORDS[0]) for who in alone),
        *((recipes.custom_diffusion, who, "custom-diffusion", CUSTOM_WEIGHTS) for who in (*alone, *pairs_of(subjects))),
    ]
    for train, who, kind, file in plan:
        folder = root / kind / "+".join(subject.name for subject in who)
        if not (folder / file).is_file():
            train(pipe, who if kind == "custom-diffusion" else who[0], folder, runs[kind])
            yield f"{kind}/{folder.name}"


def relation_words(model: Path, root: Path, poses: Sequence[str], **settings) -> Path:
    """R* of every pose, and the table that the evaluation reads; finished ones are kept."""
    table = {}
    for pose in poses:
        file = train_relation_embedding(model, root / "relation_words" / pose, pose, **settings)
        table[PREDICATES[pose]] = file.relative_to(root).as_posix()
    with whole_file(root / "relation_words.json") as path:
        path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return root / "relation_words.json"


def load_base(model: Path) -> StableDiffusionXLPipeline:
    """The base alone, frozen, float32."""
    # our own entries of model_index.json are told to leave: plain SDXL does not know them
    pipe = StableDiffusionXLPipeline.from_pretrained(model, dtype=torch.float32)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.text_encoder_2):
        part.requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def evaluate(root: Path, systems: Sequence[str] = SYSTEMS, steps: int | None = None) -> str:
    """Draw, score and report; gives the tables. `steps`: of sampling."""
    settings = GenerationSettings(prompt="of each case", model=MINIATURE, seed=0, device="cpu", steps=steps)
    settings.checked()
    options = SystemOptions(settings, collage_size=IMAGE_SIZE, cases_a_call=8)
    metrics = MetricOptions(clip=MINIATURE, dino=MINIATURE, detector=MINIATURE)
    texts = tuple(text.format(root) for text in systems)
    run = Run(RunOptions(str(root / "bench"), root / "run", texts, options, metrics, against="ours"))
    for stage in ("draw", "score"):
        for item in run.work(stage):
            print(stage, *item, flush=True)
    return finish(run, False)[0]


def _actions() -> tuple[str, ...]:
    return tuple(pose for pose in PREDICATES if pose not in RELATIONS)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="bench, trainings and the run's page")
    parser.add_argument("--characters", type=int, default=CHARACTERS, help="and as many pairs")
    parser.add_argument("--poses", nargs="+", choices=tuple(PREDICATES), default=POSES, help="relations and actions")
    parser.add_argument(
        "--steps_scale", type=float, default=1.0, help="of every recipe's steps; each wants its own folder"
    )
    given = parser.parse_args(arguments)
    if not 2 <= given.characters <= len(held_out_characters()):
        parser.error(f"`--characters` must be 2 to {len(held_out_characters())}, got {given.characters}.")
    if not given.steps_scale > 0:
        parser.error(f"`--steps_scale` must be above 0, got {given.steps_scale}.")
    root = given.output_dir.absolute()
    told = {"characters": given.characters, "poses": list(given.poses), "steps_scale": given.steps_scale}
    made_for(root, model=weights_digest(miniature.path(), PIPELINE), **told)
    bench, characters = root / "bench", choose_characters(given.characters)
    if not (bench / CASES).is_file():
        write_cases_of(bench, characters, given.poses)
    runs = {
        name: replace(run, steps=max(1, round(run.steps * given.steps_scale)))
        for name, run in (
            ("dreambooth", recipes.DREAMBOOTH),
            ("textual-inversion", recipes.TEXTUAL_INVERSION),
            ("custom-diffusion", recipes.CUSTOM_DIFFUSION),
        )
    }
    subjects = [subject_of(character, bench) for character in characters]
    for name in trainings(load_base(miniature.path()), root, subjects, runs):
        print(name, flush=True)
    steps = max(1, round(200 * given.steps_scale))
    unseen = [pose for pose in given.poses if pose in poses_of_kinds("bc")]  # as RelationLoRAs are trained for
    relation_words(miniature.path(), root, unseen, max_train_steps=steps, train_batch_size=4)
    print(evaluate(root))


if __name__ == "__main__":
    main()
