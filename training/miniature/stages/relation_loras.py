"""Stage "relation_loras": RelationLoRAs of what the adapter has not seen anyone do, by the users' own script."""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME, whole_file

from ...common.made_for import PIPELINE, made_for, weights_digest
from ...train_relation_lora_sdxl import main as train_relation_lora
from ..world.captions import PREDICATES
from ..world.poses import RELATIONS
from ..world.rendering import IMAGE_SIZE
from ..world.splits import KINDS, known_poses
from ..world.triplets import write_triplets

TRIPLETS = 6
SETTINGS = {
    "resolution": IMAGE_SIZE,
    "train_batch_size": 8,
    "max_train_steps": 500,
    "learning_rate": 2e-4,
    "image_prompt_scale": 1.0,  # of the adapter's own training; at the paper's 0.6 it keeps fewer identities
    "views_per_triplet": 1,
    "largest_zoom": 1.0,  # crops come with a conditioning that the first edition's base has never seen
    "checkpointing_steps": 250,
    "checkpoints_total_limit": 1,
    "resume_from_checkpoint": "latest",
}
SCALES = {"b": 0.7, "c": 0.85}  # suggested weights: more brings the relation little oftener, and costs details
OF_NEW = {"triplets": 12, "max_train_steps": 1000}  # what the base never saw takes twice of both
# They ship: what the adapter overlooks, what it draws without them (as a user finds out), and what is new to the base.
SHIPPED = (
    "shaking_hands", "hugging", "jumping", "fencing", "playing_piano", "riding_horse", "dancing", "carrying",
    "playing_guitar",
)  # fmt: skip


def relation_template(pose):
    """The prompt of a pose with {0}, {1} for its characters."""
    subject = f"a {{0}} {PREDICATES[pose]}"
    return f"{subject} a {{1}}" if pose in RELATIONS else subject


def training_arguments(model, output_dir, pose, seed=0, triplets=None, **settings):
    """Command line of `train_relation_lora_sdxl.py` for `pose`, whose triplets are written if they are not yet there.

    Args:
        seed: the triplets' characters and scenes depend on it too; the same seed always gives the same triplets, and
            more of them begin with the fewer.
        triplets: how many; None: `TRIPLETS`.
        settings: options instead of `SETTINGS`.
    Raises:
        ValueError: another number of triplets lies there.
    """
    output_dir = Path(output_dir)
    folder = output_dir.parent / f"{output_dir.name}-triplets"
    wanted, kept = triplets or TRIPLETS, folder / "metadata.jsonl"
    if not kept.exists():
        write_triplets(folder, pose, wanted, seed)
    if (count := len(kept.read_text(encoding="utf-8").splitlines())) != wanted:
        raise ValueError(
            f"`{folder}` must hold {wanted} triplets, got {count}. Give a new output folder, or remove it."
        )
    options = {
        "pretrained_model_name_or_path": model,
        "train_data_dir": folder,
        "output_dir": output_dir,
        "seed": seed,
        "relation": pose,
        "template": relation_template(pose),
        **SETTINGS,
        **settings,
    }
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def train_one(model, output_dir, pose, seed=0, **settings):
    """A RelationLoRA of `pose` on the miniature in `model`, as `training_arguments` say; a finished one is kept.

    Returns:
        The file.
    Raises:
        ValueError: what is in `output_dir` was trained for another model, or with other settings.
    """
    told = {name: value for name, value in settings.items() if not isinstance(value, Path)}
    made_for(output_dir, model=weights_digest(model, PIPELINE), training={"pose": pose, "seed": seed, **told})
    file = Path(output_dir) / LORA_WEIGHT_NAME
    if not file.exists():
        train_relation_lora(training_arguments(model, output_dir, pose, seed, **settings))
    return file


def train_relation_loras(root, export_dir, poses=None, seeds=1, **settings):
    """Train RelationLoRAs of relations and actions of kinds (b) and (c); put them into the exported pipeline, halved.

    Args:
        poses: None: of `SHIPPED`, those that the edition has.
        seeds: trainings of each, into `root`/POSE_SEED, to see how much they vary; the first is the one that ships.
        settings: of `train_one`.
    """
    for pose in poses or [pose for pose in SHIPPED if pose in known_poses()]:
        options = {**(OF_NEW if KINDS[pose] == "c" else {}), **settings}
        files = [train_one(export_dir, Path(root) / f"{pose}_{seed}", pose, seed, **options) for seed in range(seeds)]
        target = export_dir / "relation_loras" / pose / LORA_WEIGHT_NAME
        target.parent.mkdir(parents=True, exist_ok=True)
        with safe_open(files[0], "pt") as source:
            weights = {name: source.get_tensor(name).half() for name in source.keys()}
            header = source.metadata()
        header["relationbooth"] = json.dumps(json.loads(header["relationbooth"]) | {"scale": SCALES[KINDS[pose]]})
        with whole_file(target) as path:
            save_file(weights, path, metadata=header)
    return True
