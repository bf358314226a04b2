"""Stage "judges": small classifiers, trained on renders alone, that say who stands in a box and what the picture shows.

They share nothing with the pipeline's own encoders, so a generator cannot please them by its own mistakes.
"""

import random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from .encoders import ATTRIBUTES, accuracy, attribute_loss, attribute_targets
from .pictures import to_tensor
from .poses import POSES, RELATIONS
from .splits import held_out_characters, training_character
from .training_loop import Trainer
from .world import BACKGROUNDS, render

CROP_SIZE = 64  # pixels of a judged character
SCENE_SIZE = 64  # pixels of a judged scene
BOX_MARGIN = 0.03  # generated characters do not end exactly at their boxes
POSE_NAMES = tuple(POSES)


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
        """{question: (B, answers) logits} of (B, 3, 64, 64) in [-1, 1]."""
        features = self.features(images).flatten(1)
        return {name: reading(features) for name, reading in self.readings.items()}


def build_judges():
    """(judge of the character in a box, judge of what the characters do)."""
    identity = Judge({name: len(values) for name, values in ATTRIBUTES.items()})
    return identity, Judge({"pose": len(POSE_NAMES)})


def crop_boxes(images, boxes, size=CROP_SIZE):
    """The box of each picture, resized: (B, 3, S, S) and (B, 4) XYXY in [0, 1] -> (B, 3, size, size)."""
    left, top, right, bottom = boxes.unbind(-1)
    left, top, right, bottom = left - BOX_MARGIN, top - BOX_MARGIN, right + BOX_MARGIN, bottom + BOX_MARGIN
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


def _scenes(count, rng, draw):
    """Annotated scenes of all poses, with characters from `draw(rng)`."""
    scenes = []
    for _ in range(count):
        pose = rng.choice(POSE_NAMES)
        characters = [draw(rng) for _ in range(2 if pose in RELATIONS else 1)]
        scenes.append(render(characters, pose, rng.choice(tuple(BACKGROUNDS)), rng))
    return scenes


def _disturb(images, vae, rng):
    """What generated pictures look like: through the autoencoder half of the time, with a little noise."""
    if vae is not None and rng.random() < 0.5:
        with torch.no_grad():
            images = vae.decode(vae.encode(images).latent_dist.sample()).sample
    return images + torch.randn_like(images) * 0.1 * rng.random()


def _questions(scenes, images, rng, jitter):
    """Crops and targets of every character, whole pictures and targets of every scene."""
    rows, boxes, characters = [], [], []
    for index, scene in enumerate(scenes):
        for character, box in zip(scene.characters, scene.boxes):
            rows.append(index)
            boxes.append([value + rng.uniform(-jitter, jitter) for value in box])
            characters.append(character)
    crops = crop_boxes(images[rows], torch.tensor(boxes))
    poses = torch.tensor([POSE_NAMES.index(scene.pose) for scene in scenes])
    return crops, attribute_targets(characters), shrink(images), {"pose": poses}


def train_judges(root, plan, autocast, batch=40):
    """Train, or resume, and save both judges to `root`/judges/judges.pt with their accuracy on fresh renders."""
    path = root / "vae" / "model"
    vae = AutoencoderKL.from_pretrained(path).eval() if path.exists() else None
    torch.manual_seed(plan.seed)
    identity, pose = build_judges()
    trainer = Trainer({"identity": identity, "pose": pose}, plan, root / "judges")

    def loss_of(step, rng):
        scenes = _scenes(batch, rng, lambda rng: training_character(rng, 0.1))
        images = _disturb(to_tensor([scene.image for scene in scenes]), vae, rng)
        crops, attributes, whole, poses = _questions(scenes, images, rng, 0.03)
        with autocast():
            loss = attribute_loss(identity(crops), attributes) + attribute_loss(pose(whole), poses)
        return loss, {}

    @torch.no_grad()
    def after_interval(step):
        rng, unseen = random.Random(50_000_017), held_out_characters()
        scenes = _scenes(200, rng, lambda rng: rng.choice(unseen))
        images = to_tensor([scene.image for scene in scenes])
        crops, attributes, whole, poses = _questions(scenes, images, rng, 0.0)
        figures = {**accuracy(identity(crops), attributes), **accuracy(pose(whole), poses)}
        print(
            f"\njudges step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True
        )
        state = {"identity": identity.state_dict(), "pose": pose.state_dict(), "accuracy": figures}
        torch.save(state, trainer.output_dir / "judges.pt")

    return trainer.run(loss_of, after_interval)


class Verdicts:
    """Both trained judges, asked about pictures.

    Args:
        path: the file that `train_judges` wrote.
    """

    def __init__(self, path):
        state = torch.load(path, weights_only=True)
        self.identity, self.pose = build_judges()
        self.identity.load_state_dict(state["identity"])
        self.pose.load_state_dict(state["pose"])
        self.identity.eval()
        self.pose.eval()
        self.accuracy = state["accuracy"]

    @torch.no_grad()
    def attributes(self, pictures, boxes):
        """{attribute: list of names} for the character in each box; pictures (B, S, S, 3) uint8, boxes (B, 4)."""
        crops = crop_boxes(to_tensor(pictures), torch.as_tensor(np.asarray(boxes), dtype=torch.float32))
        answers = self.identity(crops)
        return {name: [ATTRIBUTES[name][i] for i in logits.argmax(-1).tolist()] for name, logits in answers.items()}

    @torch.no_grad()
    def poses(self, pictures):
        """Names of the poses that (B, S, S, 3) uint8 pictures show."""
        return [POSE_NAMES[i] for i in self.pose(shrink(to_tensor(pictures)))["pose"].argmax(-1).tolist()]
