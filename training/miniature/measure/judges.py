"""Judges, trained on renders alone: who stands in a box, where its keypoints are, what a picture shows and where.

They share nothing with the pipeline's own encoders, so a generator cannot please them by its own mistakes.
"""

import random
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from relationbooth_pipeline.relation_files import whole_file

from ..stages.attributes import ATTRIBUTES, accuracy, attribute_loss, attribute_targets
from ..stages.training_loop import Trainer, TrainingPlan
from ..world.pictures import to_tensor
from ..world.poses import RELATIONS
from ..world.rendering import BACKGROUNDS, render
from ..world.splits import held_out_characters, known_poses, training_character

CROP_SIZE = 64  # pixels of a judged character
SCENE_SIZE = 64  # pixels of a judged scene
FILE_NAME = "judges.pt"
BOX_MARGIN = 0.03  # generated characters do not end exactly at their boxes
POSE_NAMES = known_poses()
KEYPOINT_WEIGHT = 10.0  # brings a squared distance in boxes to the size of a cross-entropy
BOX_WEIGHT = 30.0  # the same for a squared distance in pictures
PLAN = TrainingPlan(max_train_steps=1500, muon_learning_rate=0.02, constant_share=0.5, sample_steps=500)
POOL = 6_000  # scenes, rendered once; crops, blur and noise differ each time


def _stage(in_channels, out_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1),
        nn.GroupNorm(8, out_channels),
        nn.SiLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.GroupNorm(8, out_channels),
        nn.SiLU(),
    )


class Judge(nn.Module):
    """A convolutional net of 0.6 M parameters with one linear reading for each question.

    Args:
        questions: {name: number of answers}.
    """

    def __init__(self, questions):
        super().__init__()
        widths = (3, 24, 48, 96, 160)
        self.features = nn.Sequential(*(_stage(a, b) for a, b in zip(widths, widths[1:])))
        self.readings = nn.ModuleDict({name: nn.Linear(160 * 16, count) for name, count in questions.items()})

    def forward(self, images):
        """{question: (B, answers)} of (B, 3, 64, 64) in [-1, 1]; both on the CPU, wherever the judge is."""
        features = self.features(images.to(next(self.parameters()).device)).flatten(1)
        return {name: reading(features).cpu() for name, reading in self.readings.items()}


def build_judges():
    """(judge of the character in a box, judge of what the characters do)."""
    identity = Judge({**{name: len(values) for name, values in ATTRIBUTES.items()}, "keypoints": 34})
    return identity, Judge({"pose": len(POSE_NAMES), "boxes": 8})


def with_margin(boxes):
    """(B, 4) XYXY boxes, a little larger."""
    return boxes + torch.tensor([-BOX_MARGIN, -BOX_MARGIN, BOX_MARGIN, BOX_MARGIN])


def crop_boxes(images, boxes, size=CROP_SIZE):
    """The box of each picture, resized: (B, 3, S, S) and (B, 4) XYXY in [0, 1] → (B, 3, size, size)."""
    left, top, right, bottom = boxes.unbind(-1)
    zeros = torch.zeros_like(left)
    rows = [
        torch.stack([right - left, zeros, left + right - 1], -1),
        torch.stack([zeros, bottom - top, top + bottom - 1], -1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), (len(images), 3, size, size), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def shrink(images):
    """Whole scenes for the judge of poses."""
    return F.interpolate(images, (SCENE_SIZE, SCENE_SIZE), mode="bilinear", antialias=True, align_corners=False)


def draw_scenes(count, rng, draw):
    """Annotated scenes of all poses, with characters from `draw(rng)`."""
    scenes = []
    for _ in range(count):
        pose = rng.choice(POSE_NAMES)
        characters = [draw(rng) for _ in range(2 if pose in RELATIONS else 1)]
        scenes.append(render(characters, pose, rng.choice(tuple(BACKGROUNDS)), rng))
    return scenes


def disturb(images, rng):
    """What generated pictures look like: a little blurred, a little noisy."""
    if rng.random() < 0.5:
        small = F.interpolate(images, scale_factor=rng.uniform(0.4, 0.9), mode="bilinear", antialias=True)
        images = F.interpolate(small, images.shape[-2:], mode="bilinear")
    return images + torch.randn_like(images) * 0.1 * rng.random()


class Questions:
    """What the judges are asked about some scenes, and the right answers.

    Attributes:
        crops: (R, 3, 64, 64) of every character. attributes: {name: (R,)}. keypoints: (R, 17, 2) in the crop; visible:
        bool (R, 17). scenes: (B, 3, 64, 64). poses: {"pose": (B,)}. boxes: (B, 2, 4) from west to east; the box of a
        single character twice.
    """

    def __init__(self, scenes, images, rng=None, jitter=0.0):
        rows = [(index, number) for index, scene in enumerate(scenes) for number in range(len(scene.characters))]
        boxes = torch.tensor(np.array([scenes[i].boxes[n] for i, n in rows]), dtype=torch.float32)
        if jitter:
            boxes = boxes + torch.tensor([[rng.uniform(-jitter, jitter) for _ in range(4)] for _ in rows])
        boxes = with_margin(boxes)
        points = torch.tensor(np.array([scenes[i].keypoints[n] for i, n in rows]), dtype=torch.float32)
        self.crops = crop_boxes(images[[i for i, _ in rows]], boxes)
        self.attributes = attribute_targets([scenes[i].characters[n] for i, n in rows])
        self.keypoints = in_boxes(points[..., :2], boxes)
        self.visible = points[..., 2] > 0
        self.scenes = shrink(images)
        self.poses = {"pose": torch.tensor([POSE_NAMES.index(scene.pose) for scene in scenes])}
        self.boxes = torch.stack([west_to_east(scene.boxes) for scene in scenes])


def west_to_east(boxes):
    """(1 or 2, 4) XYXY → (2, 4), ordered by their centres' x."""
    boxes = torch.as_tensor(np.asarray(boxes), dtype=torch.float32)
    return boxes[(boxes[:, 0] + boxes[:, 2]).argsort()].expand(2, 4)


def overlap(first, second):
    """Intersection over union of (..., 4) XYXY boxes."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-9)


def in_boxes(points, boxes):
    """(R, 17, 2) of the picture → of each (R, 4) box."""
    return (points - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])


def keypoint_distance(found, expected, visible):
    """Mean distance of visible keypoints in units of the box's sides, (R,)."""
    return ((found - expected).norm(dim=-1) * visible).sum(1) / visible.sum(1).clamp(min=1)


def train_judges(output_dir, plan=PLAN, batch=40, pool=POOL):
    """Train, or resume, and write `output_dir`/judges.pt: both judges and their accuracy on fresh renders."""
    torch.manual_seed(plan.seed)
    identity, pose = build_judges()
    trainer = Trainer({"identity": identity, "pose": pose}, plan, output_dir)
    scenes = draw_scenes(pool, random.Random(60_000_011), lambda rng: training_character(rng, 0.1))

    def loss_of(step, rng):
        chosen = rng.sample(scenes, batch)
        images = disturb(to_tensor([scene.image for scene in chosen]), rng)
        asked = Questions(chosen, images, rng, jitter=0.03)
        answers = identity(asked.crops)
        squares = (answers.pop("keypoints").unflatten(1, (17, 2)) - asked.keypoints).square().sum(-1)
        keypoint = (squares * asked.visible).sum() / asked.visible.sum()
        seen = pose(asked.scenes)
        box = (seen["boxes"].unflatten(1, (2, 4)) - asked.boxes).square().mean()
        loss = attribute_loss(answers, asked.attributes) + attribute_loss(seen, asked.poses)
        return loss + KEYPOINT_WEIGHT * keypoint + BOX_WEIGHT * box, {"keypoint": keypoint.item(), "box": box.item()}

    @torch.no_grad()
    def after_interval(step):
        rng, unseen = random.Random(50_000_017), held_out_characters()
        fresh = draw_scenes(300, rng, lambda rng: rng.choice(unseen))
        asked = Questions(fresh, to_tensor([scene.image for scene in fresh]))
        answers = identity(asked.crops)
        found = answers.pop("keypoints").unflatten(1, (17, 2))
        seen = pose(asked.scenes)
        figures = {**accuracy(answers, asked.attributes), **accuracy(seen, asked.poses)}
        figures["box_overlap"] = overlap(seen["boxes"].unflatten(1, (2, 4)), asked.boxes).mean().item()
        figures["keypoint_distance"] = keypoint_distance(found, asked.keypoints, asked.visible).mean().item()
        print(f"\njudges step {step}: " + ", ".join(f"{n} {v:.3f}" for n, v in figures.items()), flush=True)
        if step == plan.max_train_steps:  # judges.pt is there when they are finished, not before
            state = {"identity": identity.state_dict(), "pose": pose.state_dict(), "accuracy": figures}
            with whole_file(trainer.output_dir / FILE_NAME) as path:
                torch.save(state, path)

    return trainer.run(loss_of, after_interval)


def ready_judges(folder, device="cpu"):
    """The judges in `folder`, trained first, in minutes and on `device`, unless they are there."""
    if not (folder / FILE_NAME).exists():
        train_judges(folder, replace(PLAN, device=device))
    return Judges(folder / FILE_NAME)


class Judges:
    """Both trained judges, asked about pictures.

    Args:
        path: the file that `train_judges` wrote.
    """

    def __init__(self, path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.identity, self.pose = build_judges()
        self.identity.load_state_dict(state["identity"])
        self.pose.load_state_dict(state["pose"])
        self.identity.eval()
        self.pose.eval()
        self.accuracy = state["accuracy"]

    @torch.no_grad()
    def characters(self, pictures, boxes):
        """Who stands in each box.

        Args:
            pictures: (B, S, S, 3) uint8. boxes: (B, 4).
        Returns:
            ({attribute: list of names}, keypoints in the picture (B, 17, 2)).
        """
        boxes = with_margin(torch.as_tensor(np.asarray(boxes), dtype=torch.float32))
        answers = self.identity(crop_boxes(to_tensor(pictures), boxes))
        points = answers.pop("keypoints").unflatten(1, (17, 2))
        points = points * (boxes[:, None, 2:] - boxes[:, None, :2]) + boxes[:, None, :2]
        names = {name: [ATTRIBUTES[name][i] for i in logits.argmax(-1).tolist()] for name, logits in answers.items()}
        return names, points

    @torch.no_grad()
    def poses(self, pictures):
        """Names of the poses that (B, S, S, 3) uint8 pictures show."""
        return [POSE_NAMES[i] for i in self.pose(shrink(to_tensor(pictures)))["pose"].argmax(-1).tolist()]

    @torch.no_grad()
    def boxes(self, pictures):
        """Where the characters of (B, S, S, 3) uint8 pictures stand: (B, 2, 4) XYXY from west to east."""
        return self.pose(shrink(to_tensor(pictures)))["boxes"].unflatten(1, (2, 4)).clamp(0, 1)
