"""The annotator's dense reader: of each place of a picture, who stands there, and where that one's centre and keypoints
are."""

import random
from pathlib import Path

import torch
import torch.nn.functional as F

from relationbooth_pipeline.miniature.networks import GRID, DenseReader

from ..stages.attributes import ATTRIBUTES, IGNORED, attribute_targets
from ..stages.training_loop import Trainer, TrainingPlan
from ..world.poses.skeletons import KEYPOINT_NAMES
from ..world.rendering import Scene
from ..world.splits import held_out_characters, training_character
from .files import save_network
from .scenes import draw_nobody, draw_photo, draw_scenes, pixels_of, soften

FILE_NAME = "annotator.safetensors"
ALONE_SHARE = 0.2  # of the pool: single characters as image prompts show them, beside those of all poses
EMPTY_SHARE = 0.04  # of the pool: without a place where nobody is, somebody is found in an empty meadow
KNOWN_WORDS = ("a", "an", "the", "with", "wearing", "and", "animal")  # say nothing about who it is
LOG_SPREAD = (-6.0, 1.0)  # of keypoints, log of shares of the side: 0.3 pixels to three pictures
# keypoints weigh more and more as their spread shrinks, so who it is must not weigh less than that
CENTRE_WEIGHT, KEYPOINT_WEIGHT, ATTRIBUTE_WEIGHT = 10.0, 0.4, 3.0


def channels() -> dict[str, int]:
    """What the reader says: {name: channels}."""
    keypoints = len(KEYPOINT_NAMES)
    attributes = {name: len(values) for name, values in ATTRIBUTES.items()}
    places = {"centre": 2, "keypoints": 2 * keypoints, "spread": keypoints, "visible": keypoints}
    return {"character": 1, **attributes, **places}


def words_of_the_world() -> dict[str, list[str] | None]:
    """{word: [attribute, value]}, or None for a word that says nothing about who it is."""
    said = {value: [name, value] for name, values in ATTRIBUTES.items() for value in values if value != "none"}
    return {**dict.fromkeys(KNOWN_WORDS), **said}


class Grids:
    """The right answers for some scenes on the reader's grid.

    Attributes:
        coverage: (B, 32, 32) share of each cell that characters fill. owned: bool, more than half by one of them.
        attributes: {name: (B, 32, 32)} class numbers, ignored where nobody is. centre: (B, 2, 32, 32) from the cell to
        its owner's centre. keypoints: (B, 17, 2, 32, 32) likewise. visible: (B, 17, 32, 32).
    """

    def __init__(self, scenes: list[Scene]):
        steps = (torch.arange(GRID) + 0.5) / GRID
        cells = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))  # (2, 32, 32): x, y
        coverage, owned, numbers, centres, points, visible = [], [], [], [], [], []
        for scene in scenes:
            side = scene.masks.shape[-1] // GRID
            filled = torch.from_numpy(scene.masks).float().unfold(1, side, side).unfold(2, side, side).mean((3, 4))
            owner = filled.argmax(0)
            owned.append(filled.amax(0) > 0.5)
            coverage.append(filled.sum(0).clamp(max=1))
            boxes = torch.from_numpy(scene.boxes)
            centres.append(((boxes[:, :2] + boxes[:, 2:]) / 2)[owner].permute(2, 0, 1) - cells)
            known = torch.from_numpy(scene.keypoints)[owner]  # (32, 32, 17, 3)
            points.append(known[..., :2].permute(2, 3, 0, 1) - cells)
            visible.append(known[..., 2].permute(2, 0, 1))
            targets = attribute_targets(scene.characters)
            numbers.append({name: target[owner] for name, target in targets.items()})
        self.coverage, self.owned, self.centre = torch.stack(coverage), torch.stack(owned), torch.stack(centres)
        self.keypoints, self.visible = torch.stack(points), torch.stack(visible)
        self.attributes = {
            name: torch.stack([n[name] for n in numbers]).masked_fill(~self.owned, IGNORED) for name in ATTRIBUTES
        }


def draw_pool(count: int, rng: random.Random, draw) -> list[Scene]:
    """Scenes of all poses, characters alone as image prompts show them, and places with nobody there."""
    alone, empty = round(ALONE_SHARE * count), round(EMPTY_SHARE * count)
    scenes = draw_scenes(count - alone - empty, rng, draw) + [draw_photo(draw(rng), rng) for _ in range(alone)]
    return scenes + [draw_nobody(draw(rng), rng) for _ in range(empty)]


def dense_losses(said: dict[str, torch.Tensor], right: Grids) -> dict[str, torch.Tensor]:
    """Cross-entropies of coverage, attributes and visibility; distances of centres; Laplace's −log p of keypoints."""
    owned, seen = right.owned.float(), right.visible * right.owned[:, None]
    spread = said["spread"].clamp(*LOG_SPREAD)
    distance = (said["keypoints"].unflatten(1, (-1, 2)) - right.keypoints).abs().sum(2)
    laplace = distance / spread.exp() + 2 * spread
    visible = F.binary_cross_entropy_with_logits(said["visible"], right.visible, reduction="none").mean(1)
    attributes = [
        F.cross_entropy(said[name], target, ignore_index=IGNORED)
        for name, target in right.attributes.items()
        if (target != IGNORED).any()
    ]
    return {
        "coverage": F.binary_cross_entropy_with_logits(said["character"][:, 0], right.coverage),
        "attributes": ATTRIBUTE_WEIGHT * torch.stack(attributes).mean(),
        "centre": CENTRE_WEIGHT * ((said["centre"] - right.centre).abs().sum(1) * owned).sum() / owned.sum(),
        "keypoints": KEYPOINT_WEIGHT * (laplace * seen).sum() / seen.sum().clamp(min=1),
        "visible": (visible * owned).sum() / owned.sum(),
    }


def train_annotator(output_dir: Path, plan: TrainingPlan, batch: int = 20, pool: int = 2_500) -> bool:
    """Train, or resume, and write `output_dir`/annotator.safetensors with its accuracy on fresh renders."""
    torch.manual_seed(plan.seed)
    reader = DenseReader(channels())
    trainer = Trainer({"reader": reader}, plan, output_dir / "annotator")
    scenes = draw_pool(pool, random.Random(80_000_023), lambda rng: training_character(rng, 0.1))

    def said_of(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: maps.cpu() for name, maps in reader(images.to(plan.device)).items()}

    def loss_of(step: int, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = rng.sample(scenes, batch)
        losses = dense_losses(said_of(soften(pixels_of(chosen), rng)), Grids(chosen))
        return sum(losses.values()), {name: value.item() for name, value in losses.items()}

    @torch.no_grad()
    def after_interval(step: int) -> None:
        rng, unseen = random.Random(50_000_033), held_out_characters()
        fresh = draw_scenes(64, rng, lambda rng: rng.choice(unseen))
        said, right = said_of(pixels_of(fresh)), Grids(fresh)
        figures = {}
        for name, target in right.attributes.items():
            counts = target != IGNORED
            figures[name] = (said[name].argmax(1)[counts] == target[counts]).float().mean().item()
        found = said["keypoints"].unflatten(1, (-1, 2)) - right.keypoints
        seen = (right.visible * right.owned[:, None]) > 0
        figures["keypoint_distance"] = found.norm(dim=2)[seen].mean().item()
        figures["centre_distance"] = (said["centre"] - right.centre).norm(dim=1)[right.owned].mean().item()
        print(f"\nannotator step {step}: " + ", ".join(f"{n} {v:.3f}" for n, v in figures.items()), flush=True)
        if step == plan.max_train_steps:
            vocabulary = {"channels": channels(), "words": words_of_the_world(), "accuracy": figures}
            vocabulary["attributes"] = {name: list(values) for name, values in ATTRIBUTES.items()}
            save_network(reader, vocabulary, output_dir / FILE_NAME)

    return trainer.run(loss_of, after_interval)
