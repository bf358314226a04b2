"""Towers for pictures and texts, trained on renders with hard negatives: they stand where CLIP and DINO stand."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from relationbooth_pipeline.miniature.networks import Towers
from relationbooth_pipeline.miniature.words import numbered

from ..stages.training_loop import Trainer, TrainingPlan
from ..world.captions import PREDICATES, make_caption, world_words
from ..world.pictures import to_tensor
from ..world.poses import RELATIONS
from ..world.rendering import IMAGE_SIZE, render
from ..world.splits import held_out_characters, training_character
from .files import save_network
from .scenes import Draw, draw_photo, soften
from .statements import Facts, Statement, caption_statement, hard_group, phrase_statement, predicate_statement, truth

FILE_NAME = "towers.safetensors"
COLLAGE_SHARE = 0.15  # of the groups: their last picture is photos pasted side by side
FIRST_SCALE, FIRST_BIAS, VIEW_SCALE = 10.0, -3.0, 10.0
GROUP = 4  # pictures of a hard group; beside them two photos of each of two characters


class Scales(nn.Module):
    """Scale and bias of cosines in the losses; needed in training only."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS))


def _photo(character, rng: random.Random) -> np.ndarray:
    """(S, S, 3) uint8: a character alone; half of them cut to its middle, as crops are."""
    image = draw_photo(character, rng, annotate=False).image
    if rng.random() < 0.5:
        return image
    width, height = rng.randrange(72, IMAGE_SIZE), rng.randrange(100, IMAGE_SIZE)
    left = (IMAGE_SIZE - width) // 2
    part = Image.fromarray(image[IMAGE_SIZE - height :, left : left + width])
    return np.asarray(part.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


def _collage(photos: list[np.ndarray]) -> np.ndarray:
    """Two photos, narrowed, side by side."""
    half = IMAGE_SIZE // 2
    parts = [np.asarray(Image.fromarray(photo).resize((half, IMAGE_SIZE))) for photo in photos[:2]]
    return np.concatenate(parts, 1)


def draw_batch(groups: int, rng: random.Random, draw: Draw) -> tuple[list[np.ndarray], list[Facts], list[int]]:
    """Pictures, what is true of them, and the numbers of those that are photos of one character."""
    pictures, facts, photos = [], [], []
    for _ in range(groups):
        group = hard_group(rng, draw)
        shown = list(dict.fromkeys([*group[0].characters, *group[3].characters]))[:2]
        alone = [_photo(who, rng) for who in shown for _ in range(2)]
        drawn = [render(fact.characters, fact.pose, fact.background, rng, annotate=False).image for fact in group]
        if len(shown) == 2 and rng.random() < COLLAGE_SHARE:
            drawn[-1], group[-1] = _collage([alone[0], alone[2]]), Facts(tuple(shown), None, None)
        photos += range(len(pictures) + GROUP, len(pictures) + GROUP + len(alone))
        pictures += [*drawn, *alone]
        facts += [*group, *(Facts((who,), None, None) for who in shown for _ in range(2))]
    return pictures, facts, photos


def statements_about(facts: list[Facts], rng: random.Random) -> list[Statement]:
    """A caption and a relation of every picture that shows one, and a phrase about somebody in each."""
    found = []
    for fact in facts:
        found.append(phrase_statement(rng.choice(fact.characters), rng))
        if fact.pose is not None:
            found += [caption_statement(fact, rng), predicate_statement(fact.pose, rng)]
    return list({statement.text: statement for statement in found}.values())


def text_loss(cosines: torch.Tensor, right: torch.Tensor, scales: Scales) -> torch.Tensor:
    """Each text picks its pictures, each picture its texts, and every pair is told right or wrong (T, B)."""
    logits = cosines * scales.log_scale.exp().clamp(max=60).to(cosines.device)
    by_text = right / right.sum(1, keepdim=True).clamp(min=1)
    by_picture = right / right.sum(0, keepdim=True).clamp(min=1)
    picked = -(by_text * logits.log_softmax(1)).sum(1).mean() - 0.3 * (by_picture * logits.log_softmax(0)).sum(0).mean()
    pairs = F.binary_cross_entropy_with_logits(logits + scales.bias.to(cosines.device), right, reduction="none")
    true, false = (pairs * right).sum() / right.sum(), (pairs * (1 - right)).sum() / (1 - right).sum()
    return picked + true + false


def view_loss(views: torch.Tensor, facts: list[Facts], photos: list[int]) -> torch.Tensor:
    """Each photo picks the pictures that its character is in, among all but itself."""
    inside = [[float(facts[i].characters[0] in fact.characters) for fact in facts] for i in photos]
    right = torch.tensor(inside)
    itself = F.one_hot(torch.tensor(photos), len(facts)).bool()
    logits = (VIEW_SCALE * views[photos] @ views.T).masked_fill(itself, -1e4)
    right = right.masked_fill(itself, 0.0)
    return -(right / right.sum(1, keepdim=True).clamp(min=1) * logits.log_softmax(1)).sum(1).mean()


def train_towers(output_dir: Path, plan: TrainingPlan, groups: int = 4) -> bool:
    """Train, or resume, and write `output_dir`/towers.safetensors with its accuracy on fresh renders."""
    torch.manual_seed(plan.seed)
    words, scales = world_words(), Scales()
    towers = Towers(len(words))
    trainer = Trainer({"towers": towers, "scales": scales}, plan, output_dir / "towers")

    def embedded(pictures: torch.Tensor, statements: list[Statement]) -> list[torch.Tensor]:
        shared, views = towers.images(pictures.to(plan.device))
        texts = towers.texts(numbered([s.text for s in statements], words).to(plan.device))
        return [F.normalize(features, dim=-1).cpu() for features in (shared, views, texts)]

    def loss_of(step: int, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        pictures, facts, photos = draw_batch(groups, rng, lambda rng: training_character(rng, 0.05))
        statements = statements_about(facts, rng)
        shared, views, texts = embedded(soften(to_tensor(pictures), rng), statements)
        losses = {
            "text": text_loss(texts @ shared.T, truth(statements, facts), scales),
            "view": view_loss(views, facts, photos),
        }
        return sum(losses.values()), {name: value.item() for name, value in losses.items()}

    @torch.no_grad()
    def after_interval(step: int) -> None:
        figures = tower_figures(embedded, 150)
        print(f"\ntowers step {step}: " + ", ".join(f"{n} {v:.3f}" for n, v in figures.items()), flush=True)
        if step == plan.max_train_steps:
            save_network(towers, {"words": list(words), "accuracy": figures}, output_dir / FILE_NAME)

    return trainer.run(loss_of, after_interval)


def tower_figures(embedded, count: int) -> dict[str, float]:
    """On held-out characters: how often the right one of two pictures is nearer to a text.

    Returns:
        "relation": to the relation's words, the same characters doing something else being the other picture;
        "caption": to the whole caption, the same pair; "exchanged": to the full caption, attributes exchanged.
    """
    rng, unseen = random.Random(50_000_047), held_out_characters()
    groups = []
    while len(groups) < count:
        group = hard_group(rng, lambda rng: rng.choice(unseen))
        if group[0].pose in RELATIONS and not Statement(
            "", tuple(((n, getattr(c, n)) for n in ("species", "color")) for c in group[0].characters)
        ).holds(group[2]):
            groups.append(group)
    pictures = [render(f.characters, f.pose, f.background, rng, annotate=False).image for g in groups for f in g[:3]]
    texts = [Statement(PREDICATES[g[0].pose].removeprefix("is ")) for g in groups]
    texts += [Statement(make_caption(g[0].characters, g[0].pose, g[0].background, "full").text) for g in groups]
    shared, _, told = embedded(to_tensor(pictures), texts)
    shared = shared.view(count, 3, -1)
    near = {name: (shared * told[at : at + count, None]).sum(-1) for name, at in (("relation", 0), ("caption", count))}
    return {
        "relation": (near["relation"][:, 0] > near["relation"][:, 1]).float().mean().item(),
        "caption": (near["caption"][:, 0] > near["caption"][:, 1]).float().mean().item(),
        "exchanged": (near["caption"][:, 0] > near["caption"][:, 2]).float().mean().item(),
    }
