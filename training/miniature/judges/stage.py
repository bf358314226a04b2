"""Stage "judges": both judges, the annotator and the towers, one after the other, each resumable."""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from relationbooth_pipeline import miniature

from ..stages.training_loop import TrainingPlan
from .annotator import train_annotator
from .characters import train_character_judge
from .pictures import train_picture_judge
from .towers import train_towers

COMMON = {"muon_learning_rate": 0.02, "constant_share": 0.4}
NETWORKS = {  # name: (trains it, fields of its plan)
    "characters": (train_character_judge, {"max_train_steps": 3700, "sample_steps": 500, **COMMON}),
    "pictures": (train_picture_judge, {"max_train_steps": 3600, "sample_steps": 800, **COMMON}),
    "annotator": (train_annotator, {"max_train_steps": 8000, "sample_steps": 400, **COMMON}),
    "towers": (train_towers, {"max_train_steps": 1600, "sample_steps": 250, **COMMON}),
}


def train_judges(
    output_dir: Path,
    overrides: Mapping | None = None,
    sizes: Mapping[str, dict] | None = None,
    vae: Path | None = None,
) -> bool:
    """Train, or resume, all four networks; each writes its safetensors file to `output_dir` when it is finished.

    Args:
        vae: folder of the autoencoder whose pictures the judge of pictures knows; None: the embedded miniature's.
        overrides: TrainingPlan fields that replace every network's own. sizes: {network: its pool or batch}.
    Returns:
        whether all were finished.
    """
    for name, (train, fields) in NETWORKS.items():
        plan, options = TrainingPlan(**{**fields, **(overrides or {})}), (sizes or {}).get(name, {})
        if name == "pictures":
            own = AutoencoderKL.from_pretrained(vae or miniature.path() / "vae", torch_dtype=torch.float32)
            options = {**options, "vae": own.to(plan.device).eval()}
        if not train(output_dir, plan, **options):
            return False
    return True
