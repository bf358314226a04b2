"""Which details of a character survive the autoencoder: read by a judge of crops, and by the nearest of all renders."""

import random
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from relationbooth_pipeline.miniature.networks import Judge
from relationbooth_pipeline.miniature.pictures import crop_boxes, with_margin

from ..judges.scenes import soften
from ..stages.attributes import FINE_ATTRIBUTES, VISUAL_ATTRIBUTES, attribute_targets
from ..stages.autoencoder import psnr, reconstruct
from ..stages.training_loop import Trainer, TrainingPlan
from ..world.identities import with_random_details
from ..world.pictures import to_tensor
from ..world.proportions import EDITIONS
from ..world.rendering import BACKGROUNDS, render
from ..world.splits import held_out_characters, training_character

WORLD = EDITIONS[2]
ACTIONS = ("standing", "waving", "jumping")  # one figure, so that whatever cannot be read is not merely hidden
REACH = 12  # pixels from a detail's centre that belong to it
JUDGE_PLAN = TrainingPlan(max_train_steps=450, muon_learning_rate=0.02, constant_share=0.5, sample_steps=10_000)


def draw_characters(count: int, held_out: bool, seed: int) -> list:
    """Characters with random fine attributes."""
    rng, unseen = random.Random(f"proportions {seed} {held_out}"), held_out_characters(fine=False)
    if held_out:
        return [with_random_details(rng.choice(unseen), rng) for _ in range(count)]
    return [training_character(rng, 0.0, fine=True) for _ in range(count)]


def draw_pictures(count: int, held_out: bool, seed: int) -> list:
    """Annotated scenes of one character each."""
    rng = random.Random(f"pictures {seed} {held_out}")
    return [
        render([character], rng.choice(ACTIONS), rng.choice(tuple(BACKGROUNDS)), rng, size=WORLD.picture)
        for character in draw_characters(count, held_out, seed)
    ]


def judged_rows(vae, folder: Path, plan: TrainingPlan, pool: int, test_count: int, seed: int = 0) -> tuple[dict, float]:
    """({"renders", "after the autoencoder": {attribute: (share, "judge")}}, PSNR in dB) by a judge of crops.

    The judge learns from renders alone, a little blurred and noisy, and never sees the autoencoder's pictures.
    """
    torch.manual_seed(plan.seed)
    judge = Judge({name: len(values) for name, values in VISUAL_ATTRIBUTES.items()})
    trainer = Trainer({"judge": judge}, plan, folder)
    scenes = draw_pictures(pool, False, seed)

    def crops(chosen, images, rng=None):
        boxes = torch.stack([torch.from_numpy(scene.boxes[0]) for scene in chosen])
        if rng is not None:
            boxes = boxes + torch.tensor([[rng.uniform(-0.03, 0.03) for _ in range(4)] for _ in chosen])
        return crop_boxes(images, with_margin(boxes))

    def targets_of(chosen):
        return attribute_targets([scene.characters[0] for scene in chosen], attributes=VISUAL_ATTRIBUTES)

    def loss_of(step, rng):
        chosen = rng.sample(scenes, 40)
        images = soften(to_tensor([scene.image for scene in chosen]), rng)
        answers, targets = judge(crops(chosen, images, rng)), targets_of(chosen)
        return sum(F.cross_entropy(answers[name], targets[name]) for name in targets), {}

    trainer.run(loss_of)
    judge.eval()
    unseen = draw_pictures(test_count, True, seed)
    clean, targets = to_tensor([scene.image for scene in unseen]), targets_of(unseen)
    with torch.no_grad():
        pictures = {"renders": clean, "after the autoencoder": reconstruct(vae, clean)}
        answers = {name: judge(crops(unseen, images)) for name, images in pictures.items()}
    rows = {
        row: {n: ((found[n].argmax(-1) == targets[n]).double().mean().item(), "judge") for n in VISUAL_ATTRIBUTES}
        for row, found in answers.items()
    }
    return rows, psnr(clean, pictures["after the autoencoder"])


@torch.no_grad()
def nearest_renders(vae, count: int, seed: int = 0) -> dict:
    """{fine attribute: (share, "nearest")}: which of the renders that differ in it alone is nearest to the decoded one.

    Squared distance of pixels within `REACH` of the detail. Needs no training: an upper bound of what a judge can tell
    where details became soft, but not where they became other things.
    """
    rng, right = random.Random(f"nearest {seed}"), dict.fromkeys(FINE_ATTRIBUTES, 0)
    for number, character in enumerate(draw_characters(count, True, seed)):
        pose, background = rng.choice(ACTIONS), rng.choice(tuple(BACKGROUNDS))

        def drawn(who, number=number, pose=pose, background=background):
            random_source = random.Random(f"nearest {seed} {number}")
            return render([who], pose, background, random_source, size=WORLD.picture, annotate=False)

        scene = drawn(character)
        decoded = reconstruct(vae, to_tensor([scene.image]))
        rows, columns = torch.meshgrid(*[torch.arange(WORLD.picture) + 0.5] * 2, indexing="ij")
        for name, kinds in FINE_ATTRIBUTES.items():
            places = torch.tensor(scene.details[0][name]) * WORLD.picture
            near = torch.stack([(columns - x).square() + (rows - y).square() for x, y in places]).amin(0) <= REACH**2
            others = to_tensor([drawn(replace(character, **{name: kind})).image for kind in kinds])
            distances = ((others - decoded).square() * near).sum((1, 2, 3))
            right[name] += kinds[distances.argmin()] == getattr(character, name)
    return {name: (found / count, "nearest") for name, found in right.items()}
