"""Vision towers that the adapter tables compare: the miniature's own distilled one, and a second, smaller one."""

import random
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ...common.made_for import made_for, weights_digest
from ...train_local_image_encoder import main as train_local_image_encoder
from ..world.proportions import PROPORTIONS
from ..world.scenes import write_scenes
from ..world.splits import held_out_characters, training_character
from .attributes import VISUAL_ATTRIBUTES, accuracy, attribute_loss, attribute_targets, summary
from .character_views import character_views, clip_tensor
from .training_loop import Trainer, TrainingPlan, default_device, faster_precision

SMALL_WIDTH = 64  # half of the miniature's own
SMALL_PLAN = TrainingPlan(max_train_steps=1200, muon_learning_rate=0.01, constant_share=0.5, sample_steps=400)
SCENES = 2000  # pictures to distil on
DISTILLATION = {
    "image_scale": PROPORTIONS.local_scale,  # the adapter's local tokens are read at this many native sides
    "train_batch_size": 8,
    "max_train_steps": 300,
    "learning_rate": 5e-4,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 50,
    "checkpointing_steps": 100,
    "checkpoints_total_limit": 1,
    "resume_from_checkpoint": "latest",
}


def build_small_tower():
    """A CLIP vision tower of 0.15 M parameters: two blocks of half the miniature's width."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=SMALL_WIDTH, intermediate_size=4 * SMALL_WIDTH, num_hidden_layers=2, num_attention_heads=4,
            image_size=PROPORTIONS.clip_input, patch_size=PROPORTIONS.clip_patch, projection_dim=SMALL_WIDTH,
            hidden_act="gelu",
        )
    )  # fmt: skip


class TowerHeads(nn.Module):
    """Linear readings of every attribute from penultimate states and from the embedding; for training only."""

    def __init__(self, width=SMALL_WIDTH):
        super().__init__()
        sizes = {name: len(values) for name, values in VISUAL_ATTRIBUTES.items()}
        self.states = nn.ModuleDict({name: nn.Linear(2 * width, size) for name, size in sizes.items()})
        self.embeds = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})

    def forward(self, output):
        """({attribute: logits} of the states, {attribute: logits} of the embedding)."""
        states = summary(output.hidden_states[-2])
        of_states = {name: reading(states) for name, reading in self.states.items()}
        return of_states, {name: reading(output.image_embeds) for name, reading in self.embeds.items()}


def train_small_tower(output_dir, plan=SMALL_PLAN, batch=48, checked=192):
    """Train, or resume, and save the second tower to `output_dir`/model; returns that folder.

    Args:
        checked: held-out characters that each printed accuracy is measured on.
    """
    output_dir = Path(output_dir)
    torch.manual_seed(plan.seed)
    tower, heads = build_small_tower(), TowerHeads()
    tower.set_attn_implementation("eager")  # see the stage "encoders"
    trainer = Trainer({"tower": tower, "heads": heads}, plan, output_dir)

    def read(characters, rng):
        groups = [character_views(character, rng, PROPORTIONS.clip_input) for character in characters]
        views = [view for group in groups for view in group]
        shown = [character for character, group in zip(characters, groups) for _ in group]
        output = tower(clip_tensor([view.image for view in views]), output_hidden_states=True)
        return heads(output), attribute_targets(shown, [view.seen for view in views], None, VISUAL_ATTRIBUTES)

    def loss_of(step, rng):
        readings, targets = read([training_character(rng, 0.3) for _ in range(batch)], rng)
        return sum(attribute_loss(reading, targets) for reading in readings), {}

    @torch.no_grad()
    def after_interval(step):
        rng, unseen = random.Random(30_000_001), held_out_characters()
        (states, embeds), targets = read([rng.choice(unseen) for _ in range(checked)], rng)
        for name, reading in (("states", states), ("embedding", embeds)):
            values = accuracy(reading, targets)
            print(f"\ntower step {step}, {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()), flush=True)

    trainer.run(loss_of, after_interval)
    tower.eval().save_pretrained(output_dir / "model")
    return output_dir / "model"


def distil(tower, output_dir, scenes_dir, scenes=SCENES, mixed_precision=None, **options):
    """Self-distil the tower in the folder `tower`, by the users' own script; returns `output_dir`, finished or made.

    Args:
        mixed_precision: "bf16" or "no"; None: the faster one. options: of the script.
    Raises:
        ValueError: what is finished in `output_dir` was made of another tower.
    """
    tower, output_dir, scenes_dir = Path(tower), Path(output_dir), Path(scenes_dir)
    made_for(output_dir, tower=weights_digest(tower.parent, (tower.name,)))
    if all((output_dir / name).exists() for name in ("model.safetensors", "config.json")):  # the second is written last
        return output_dir
    if len(list(scenes_dir.glob("*.png"))) < scenes:
        write_scenes(scenes_dir, scenes)
    settings = {
        "pretrained_model_name_or_path": tower,
        "train_data_dir": scenes_dir,
        "output_dir": output_dir,
        "mixed_precision": mixed_precision or faster_precision(default_device()),
        **DISTILLATION,
        **options,
    }
    train_local_image_encoder([text for name, value in settings.items() for text in (f"--{name}", str(value))])
    return output_dir


def prepare_towers(adapter, output_dir, mixed_precision=None, plan=SMALL_PLAN, **options):
    """{"distilled", "small": folder of each distilled tower}: the adapter's own, and one that is made in `output_dir`.

    Args:
        adapter: folder with a `local_image_encoder` in it; where there is none, its `image_encoder` is distilled.
        mixed_precision, options: of `distil`. plan: of the small tower's own training.
    """
    adapter, output_dir = Path(adapter), Path(output_dir)
    distilled = adapter / "local_image_encoder"
    make = partial(distil, scenes_dir=output_dir / "scenes", mixed_precision=mixed_precision, **options)
    if not distilled.is_dir():
        distilled = make(adapter / "image_encoder", output_dir / "distilled")
    small = train_small_tower(output_dir / "small", plan)
    return {"distilled": distilled, "small": make(small, output_dir / "small_distilled")}
