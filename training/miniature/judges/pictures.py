"""The judge of the picture: which pose it shows, or none; whether the drawing is broken; where the characters are."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from relationbooth_pipeline.miniature.networks import Judge

from ..stages.attributes import IGNORED
from ..stages.training_loop import Trainer, TrainingPlan
from ..world.captions import PREDICATES
from ..world.pictures import to_tensor
from ..world.splits import held_out_characters, known_poses, training_character
from .damage import DAMAGES, HELD_OUT_DAMAGES, spoil
from .decoded import decoded, figures_box
from .files import save_network
from .scenes import draw_scenes, overlap, pixels_of, soften, west_to_east
from .wrong_layouts import WRONG_LAYOUTS, Wrong

NONE = "none"
ANSWERS = (*known_poses(), NONE)
REDRAWN = 0.4  # of damaged pictures are `decoded` ones
BOX_WEIGHT = 30.0  # brings a squared distance in pictures to the size of a cross-entropy
FILE_NAME = "picture_judge.safetensors"
WHOLE, WRONG = 0.4, 0.2  # shares of a batch: right and whole; wrong by layout; the rest is damaged
DECODED = 0.3  # of scenes and wrong layouts come as the autoencoder leaves them, too: it takes longer than drawing


def wrong_pictures(count: int, rng: random.Random, draw, kinds=WRONG_LAYOUTS) -> list[Wrong]:
    return [kinds[rng.choice(tuple(kinds))](rng, draw) for _ in range(count)]


def answer_numbers(wrong: list[Wrong]) -> torch.Tensor:
    """(B,) numbers in ANSWERS of what wrong pictures show; what cannot be said is ignored."""
    return torch.tensor([IGNORED if picture.pose is None else ANSWERS.index(picture.pose) for picture in wrong])


def train_picture_judge(
    output_dir: Path, plan: TrainingPlan, vae: AutoencoderKL, batch: int = 36, pool: int = 2_500
) -> bool:
    """Train, or resume, and write `output_dir`/picture_judge.safetensors with its accuracy on fresh pictures.

    Args:
        vae: the miniature's; through it some pictures look as generated ones do (`decoded`).
    """
    torch.manual_seed(plan.seed)
    judge = Judge({"pose": len(ANSWERS), "broken": 2, "boxes": 8})
    trainer = Trainer({"judge": judge}, plan, output_dir / "pictures")
    rng = random.Random(70_000_027)

    def draw(rng: random.Random):
        return training_character(rng, 0.1)

    scenes, wrong = draw_scenes(pool, rng, draw), wrong_pictures(pool // 2, rng, draw)
    again = scenes[: max(2, round(DECODED * pool))]
    redrawn = decoded(vae, [scene.image for scene in again], rng, [figures_box(scene) for scene in again])
    scenes += as_decoded(vae, again, rng)
    wrong += as_decoded(vae, wrong[: len(again) // 2], rng)

    def answers_to(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: answer.cpu() for name, answer in judge(images.to(plan.device)).items()}

    def loss_of(step: int, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        sizes = [max(1, round(share * batch)) for share in (WHOLE, WRONG, 1 - WHOLE - WRONG)]
        right, layouts, hurt = rng.sample(scenes, sizes[0]), rng.sample(wrong, sizes[1]), rng.sample(scenes, sizes[2])
        images = [pixels_of(right), to_tensor([picture.image for picture in layouts])]
        spoilt = spoil(hurt, rng.sample(scenes, sizes[2]), DAMAGES, rng)
        for index in range(sizes[2]):
            if rng.random() < REDRAWN:
                spoilt[index] = to_tensor([rng.choice(redrawn)])[0]
        images.append(spoilt)
        answers = answers_to(soften(torch.cat(images), rng))
        poses = torch.full((sum(sizes),), IGNORED)
        poses[: sizes[0]] = torch.tensor([ANSWERS.index(scene.pose) for scene in right])
        poses[sizes[0] : sizes[0] + sizes[1]] = answer_numbers(layouts)
        broken = torch.tensor([0] * sizes[0] + [int(picture.broken) for picture in layouts] + [1] * sizes[2])
        boxes = torch.stack([west_to_east(scene.boxes) for scene in right])
        found = answers["boxes"][: sizes[0]].unflatten(1, (2, 4))
        losses = {
            "pose": F.cross_entropy(answers["pose"], poses),
            "broken": F.cross_entropy(answers["broken"], broken),
            "box": BOX_WEIGHT * (found - boxes).square().mean(),
        }
        return sum(losses.values()), {name: value.item() for name, value in losses.items()}

    @torch.no_grad()
    def after_interval(step: int) -> None:
        figures = picture_figures(answers_to, 300, vae)
        print(f"\npictures step {step}: " + ", ".join(f"{n} {v:.3f}" for n, v in figures.items()), flush=True)
        if step == plan.max_train_steps:
            vocabulary = {
                "poses": list(ANSWERS),
                "predicates": {pose: PREDICATES[pose] for pose in known_poses()},
                "accuracy": figures,
            }
            save_network(judge, vocabulary, output_dir / FILE_NAME)

    return trainer.run(loss_of, after_interval)


def as_decoded(vae: AutoencoderKL, drawn: list, rng: random.Random) -> list:
    """Scenes or wrong pictures whose image went through the autoencoder."""
    return [replace(one, image=image) for one, image in zip(drawn, decoded(vae, [one.image for one in drawn], rng))]


def picture_figures(answers_to, count: int, vae: AutoencoderKL) -> dict[str, float]:
    """Accuracy on fresh pictures of held-out characters.

    Args:
        answers_to: callable, (B, 3, 128, 128) → {"pose", "broken", "boxes"}. vae: of `train_picture_judge`.
    Returns:
        "pose", "whole": shares of whole pictures read rightly and not called broken; "box_overlap"; "none": share of
        wrong layouts called none; "broken: KIND": share called broken of each kind of damage, those that training never
        saw among them; "pose: decoded", "whole: decoded", "broken: redrawn": the same of what `decoded` makes.
    """
    rng, unseen = random.Random(50_000_021), held_out_characters()
    torch.manual_seed(0)

    def draw(rng: random.Random):
        return rng.choice(unseen)

    fresh, others = draw_scenes(count, rng, draw), draw_scenes(count, rng, draw)
    answers = answers_to(pixels_of(fresh))
    poses = torch.tensor([ANSWERS.index(scene.pose) for scene in fresh])
    boxes = torch.tensor(np.stack([west_to_east(scene.boxes).numpy() for scene in fresh]))
    figures = {
        "pose": share(answers["pose"].argmax(-1) == poses),
        "whole": share(answers["broken"].argmax(-1) == 0),
        "box_overlap": overlap(answers["boxes"].unflatten(1, (2, 4)), boxes).mean().item(),
    }
    some = fresh[: max(2, count // 3)]
    answers = answers_to(pixels_of(as_decoded(vae, some, rng)))
    figures["pose: decoded"] = share(answers["pose"].argmax(-1) == poses[: len(some)])
    figures["whole: decoded"] = share(answers["broken"].argmax(-1) == 0)
    redrawn = decoded(vae, [scene.image for scene in some], rng, [figures_box(scene) for scene in some])
    figures["broken: redrawn"] = share(answers_to(to_tensor(redrawn))["broken"].argmax(-1) == 1)
    for name, make in WRONG_LAYOUTS.items():
        wrong = [make(rng, draw) for _ in range(max(2, count // 5))]
        answers, wanted = answers_to(to_tensor([picture.image for picture in wrong])), answer_numbers(wrong)
        counts = wanted != IGNORED
        figures[f"pose: {name}"] = share(answers["pose"].argmax(-1)[counts] == wanted[counts])
        figures[f"broken: {name}"] = share(answers["broken"].argmax(-1) == 1)
    for name, damage in {**DAMAGES, **HELD_OUT_DAMAGES}.items():
        some = rng.sample(fresh, max(2, count // 5))
        found = answers_to(spoil(some, rng.sample(others, len(some)), {name: damage}, rng))
        figures[f"broken: {name}"] = share(found["broken"].argmax(-1) == 1)
    return figures


def share(right: torch.Tensor) -> float:
    return right.float().mean().item()
