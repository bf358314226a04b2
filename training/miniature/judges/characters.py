"""The judge of the character in a box: attributes and keypoints."""

import random
from pathlib import Path

import numpy as np
import torch

from relationbooth_pipeline.miniature.networks import Judge
from relationbooth_pipeline.miniature.pictures import crop_boxes, with_margin

from ..stages.attributes import ATTRIBUTES, VISUAL_ATTRIBUTES, accuracy, attribute_loss, attribute_targets
from ..stages.training_loop import Trainer, TrainingPlan
from ..world.poses.skeletons import KEYPOINT_NAMES
from ..world.proportions import HAS_FINE_ATTRIBUTES
from ..world.rendering import Scene
from ..world.splits import held_out_characters, training_character
from .damage import DAMAGES, spoil
from .files import save_network
from .scenes import draw_scenes, in_boxes, keypoint_distance, pixels_of, soften, warp

KEYPOINT_WEIGHT = 10.0  # brings a squared distance in boxes to the size of a cross-entropy
# who it is must be told from what is left, as in generated pictures
LOST = {name: DAMAGES[name] for name in ("erased", "mosaic", "faded")}
ASKED = VISUAL_ATTRIBUTES if HAS_FINE_ATTRIBUTES else ATTRIBUTES
FILE_NAME = "character_judge.safetensors"


class Crops:
    """The characters of some scenes, and the right answers.

    Attributes:
        pixels: (R, 3, 128, 128). attributes: {name: (R,)}. keypoints: (R, 17, 2) in the crop. visible: bool (R, 17).
    """

    def __init__(self, scenes: list[Scene], images: torch.Tensor, rng: random.Random | None = None, jitter=0.0):
        rows = [(index, number) for index, scene in enumerate(scenes) for number in range(len(scene.characters))]
        boxes = torch.tensor(np.array([scenes[i].boxes[n] for i, n in rows]), dtype=torch.float32)
        if jitter:
            boxes = boxes + torch.tensor([[rng.uniform(-jitter, jitter) for _ in range(4)] for _ in rows])
        boxes = with_margin(boxes)
        points = torch.tensor(np.array([scenes[i].keypoints[n] for i, n in rows]), dtype=torch.float32)
        self.pixels = crop_boxes(images[[i for i, _ in rows]], boxes)
        self.attributes = attribute_targets([scenes[i].characters[n] for i, n in rows], attributes=ASKED)
        self.keypoints = in_boxes(points[..., :2], boxes)
        self.visible = points[..., 2] > 0


def train_character_judge(output_dir: Path, plan: TrainingPlan, batch: int = 32, pool: int = 4_000) -> bool:
    """Train, or resume, and write `output_dir`/character_judge.safetensors with its accuracy on fresh renders."""
    torch.manual_seed(plan.seed)
    keypoints = len(KEYPOINT_NAMES)
    judge = Judge({**{name: len(values) for name, values in ASKED.items()}, "keypoints": 2 * keypoints})
    trainer = Trainer({"judge": judge}, plan, output_dir / "characters")
    scenes = draw_scenes(pool, random.Random(60_000_011), lambda rng: training_character(rng, 0.1))

    def answers_to(asked: Crops) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        answers = {name: answer.cpu() for name, answer in judge(asked.pixels.to(plan.device)).items()}
        return answers, answers.pop("keypoints").unflatten(1, (keypoints, 2))

    def loss_of(step: int, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = rng.sample(scenes, batch)
        images = pixels_of(chosen) if rng.random() < 0.6 else spoil(chosen, rng.sample(scenes, batch), LOST, rng)
        images = soften(images, rng)
        if rng.random() < 0.5:  # generated characters are not quite where and how they should be
            images = warp(images, rng.uniform(0.004, 0.012), rng.randrange(4, 9))
        asked = Crops(chosen, images, rng, jitter=0.05)
        answers, found = answers_to(asked)
        squares = (found - asked.keypoints).square().sum(-1)
        keypoint = (squares * asked.visible).sum() / asked.visible.sum()
        loss = attribute_loss(answers, asked.attributes)
        return loss + KEYPOINT_WEIGHT * keypoint, {"attributes": loss.item(), "keypoint": keypoint.item()}

    @torch.no_grad()
    def after_interval(step: int) -> None:
        rng, unseen = random.Random(50_000_017), held_out_characters()
        fresh = draw_scenes(300, rng, lambda rng: rng.choice(unseen))
        asked = Crops(fresh, pixels_of(fresh))
        answers, found = answers_to(asked)
        figures = accuracy(answers, asked.attributes)
        figures["keypoint_distance"] = keypoint_distance(found, asked.keypoints, asked.visible).mean().item()
        print(f"\ncharacters step {step}: " + ", ".join(f"{n} {v:.3f}" for n, v in figures.items()), flush=True)
        if step == plan.max_train_steps:  # the file is there when the judge is finished, not before
            vocabulary = {"attributes": {name: list(values) for name, values in ASKED.items()}}
            vocabulary |= {"keypoints": list(KEYPOINT_NAMES), "accuracy": figures}
            save_network(judge, vocabulary, output_dir / FILE_NAME)

    return trainer.run(loss_of, after_interval)
