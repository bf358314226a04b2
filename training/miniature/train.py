"""Train the miniature: `python -m training.miniature.train STAGE --output_dir DIR`.

Stages: vae, encoders, base, local_encoder (the vision tower distilled to be read densely), adapter, decoder, judges
(with towers and annotator; they need no other stage), export, relation_loras, or all of them in this order; and
vocabulary, which gives text encoders of an older world the words of this one. Every stage resumes where it was killed.
On a CPU, start the program with the allocator settings that the run log gives; without them page faults halve the
speed. `MINIATURE_WORLD=1` before it trains for the first edition.
"""

import argparse
from pathlib import Path

import torch

from ..common.made_for import made_for
from .stages.training_loop import TrainingPlan, default_device, mixed_precision

AUTOENCODER = {
    "muon_learning_rate": 0.02,
    "betas": (0.9, 0.97),
    "constant_share": 0.3,
    "final_share": 0.02,
    "warmup_steps": 20,
    "sample_steps": 600,
}
# Steps and rates of a clean repetition; the run log tells how the shipped weights came by theirs, and their cost.
PLANS = {
    "vae": {"max_train_steps": 5200, **AUTOENCODER},
    "encoders": {"max_train_steps": 6000, "muon_learning_rate": 0.01, "constant_share": 0.5, "sample_steps": 500},
    "base": {"max_train_steps": 8300, "ema_decay": 0.998, "constant_share": 0.885, "sample_steps": 400},
    "adapter": {"max_train_steps": 3000, "ema_decay": 0.995, "constant_share": 0.6, "sample_steps": 800},
    "decoder": {"max_train_steps": 5200, **AUTOENCODER},
}
# A rehearsal: everything runs, nothing is learned. Sizes of each stage beside its number of steps.
TOY_STEPS = 2
TOY = {
    "vae": {"statistics_images": 4},
    "encoders": {"batch": 2, "checked": 2},
    "base": {"scenes": 8, "batch": 2},
    "local_encoder": {"scenes": 4, "max_train_steps": TOY_STEPS, "train_batch_size": 2, "lr_warmup_steps": 0},
    "adapter": {"scenes": 8, "batch": 2},
    "judges": {"sizes": {**dict.fromkeys(("characters", "pictures", "annotator"), {"batch": 4, "pool": 8}),
                         "towers": {"groups": 1}}},
    "relation_loras": {"max_train_steps": TOY_STEPS, "train_batch_size": 1},
}  # fmt: skip
BATCHED = ("encoders", "base", "adapter")  # stages whose batch is given by `--train_batch_size`
DRAWN = ("base", "adapter")  # stages that draw `--scenes` once and train on their latents
FOR_A_MODEL = ("adapter", "export")  # stages that work on a pipeline from elsewhere, too
STARTED = ("vae", "encoders", "base")  # stages that can begin with another pipeline's weights
PLANNED = (*PLANS, "judges")  # stages with a TrainingPlan; local_encoder and relation_loras are the users' own scripts
STAGES = ("vae", "encoders", "base", "local_encoder", "adapter", "decoder", "judges", "export", "relation_loras")


def run_stage(
    stage, output_dir, overrides, precision=None, export_dir=None, training_seeds=1, start_from=None, toy=False,
    batch=None, scenes=None, model=None,
):  # fmt: skip
    """Run one stage; its state lives in `output_dir`/`stage`.

    Args:
        overrides: TrainingPlan fields that replace the stage's defaults. precision: "bf16", "no", or None: the faster.
        training_seeds: RelationLoRAs of each relation.
        start_from: pipeline folder whose weights the stages vae, encoders and base begin with; None: random ones.
        toy: with the sizes of `TOY`.
        batch: samples of a step of the `BATCHED` stages; None: each stage's own, for a CPU.
        scenes: how many the `DRAWN` stages train on; None: each stage's own.
        model: pipeline folder that the stage adapter trains for, with the towers of its own adapter, and that the stage
            export then writes with it; None: the base and towers in `output_dir`.
    """
    root, sizes = Path(output_dir), TOY.get(stage, {}) if toy else {}
    if batch is not None and stage in BATCHED:
        sizes = {**sizes, "batch": batch}
    if scenes is not None and stage in DRAWN:
        sizes = {**sizes, "scenes": scenes}
    if stage == "export":
        from .stages.export import export

        return export(root, Path(export_dir or root / "export"), model)
    if stage == "relation_loras":
        from .stages.relation_loras import train_relation_loras

        return train_relation_loras(root / stage, Path(export_dir or root / "export"), seeds=training_seeds, **sizes)
    if stage == "local_encoder":
        from .stages.towers import distil

        distil(root / "encoders" / "image_encoder", root / stage, root / "scenes", mixed_precision=precision, **sizes)
        return True
    if stage == "vocabulary":
        from .stages.encoders import grow_vocabulary

        return grow_vocabulary(root / "encoders")
    if stage == "judges":
        from .judges.stage import train_judges

        own = root / "vae" / "model"
        return train_judges(root / stage, overrides, vae=own if own.exists() else None, **sizes)
    start_from = None if start_from is None else Path(start_from)
    plan = TrainingPlan(**{**PLANS[stage], **overrides})
    autocast = mixed_precision(precision, plan.device)
    if stage == "vae":
        from .stages.autoencoder import train_vae

        return train_vae(root / stage, plan, autocast, start_from=start_from, **sizes)
    if stage == "decoder":
        from .stages.autoencoder import train_decoder

        return train_decoder(root, plan, autocast)
    if stage == "encoders":
        from .stages.encoders import train_encoders

        return train_encoders(root / stage, plan, autocast, start_from=start_from, **sizes)
    if stage == "base":
        from .stages.base import train_base

        return train_base(root, plan, autocast, start_from=start_from, **sizes)
    from .stages.adapter import train_adapter
    from .stages.image_prompts import LocalTokens

    if model is None:
        base, encoder, local = root / "base" / "pipeline", root / "encoders" / "image_encoder", root / "local_encoder"
    else:
        towers = Path(model) / "relation_adapter"
        base, encoder, local = Path(model), towers / "image_encoder", towers / "local_image_encoder"
    return train_adapter(base, encoder, root / stage, plan, autocast, LocalTokens(str(local)), **sizes)


def model_fault(given):
    """What is wrong with `--model` beside the other options, {name: value}; None: nothing."""
    stage, root, model = given["stage"], Path(given["output_dir"]), Path(given["model"]).resolve()
    if stage not in FOR_A_MODEL:
        return f"`--model` is for {' and '.join(FOR_A_MODEL)}, got the stage {stage}."
    if not (model / "relation_adapter" / "local_image_encoder").is_dir():
        return f"`--model` must hold a pipeline, an adapter and its towers, got {given['model']!r}."
    if (root / "base").exists():  # whose adapter this would go on training, or write with another base
        return f"`--model` needs an `--output_dir` without a base of its own, got {given['output_dir']!r}."
    if stage == "export":
        if not (root / "adapter" / "model" / "config.json").exists():
            return f"`--model` is exported with the adapter in `--output_dir`, and {root} holds none. Train it first."
        written = Path(given["export_dir"] or root / "export").resolve()  # replaced as a whole
        if written in (model, *model.parents) or model in written.parents:
            return f"`--export_dir` must lie apart from `--model`, which it would replace, got {written}."
    return None


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*STAGES, "vocabulary", "all"))
    parser.add_argument("--output_dir", required=True, help="training state, outside the repository")
    parser.add_argument("--export_dir", help="where `export` writes the pipeline folder; default OUTPUT_DIR/export")
    parser.add_argument(
        "--mixed_precision", choices=("no", "bf16"), help="default: the faster one on this machine, which is measured"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; small models hardly gain from a second one"
    )
    parser.add_argument("--device", default=default_device(), help="default: a GPU where there is one")
    parser.add_argument("--training_seeds", type=int, default=1, help="RelationLoRAs of each relation; the first ships")
    parser.add_argument("--toy", action="store_true", help="a rehearsal: two steps of everything, and few pictures")
    parser.add_argument(
        "--model", help="pipeline folder that adapter trains for, and export writes with it; default: OUTPUT_DIR's own"
    )
    parser.add_argument("--start_from", help=f"pipeline folder whose weights {', '.join(STARTED)} begin with")
    for name, kind in (
        ("max_train_steps", int),
        ("learning_rate", float),
        ("muon_learning_rate", float),
        ("seed", int),
    ):
        parser.add_argument(f"--{name}", type=kind, help=f"of {', '.join(PLANNED)}")
    parser.add_argument("--train_batch_size", type=int, help=f"of {', '.join(BATCHED)}; a GPU takes more than a CPU")
    parser.add_argument("--scenes", type=int, help=f"of {' and '.join(DRAWN)}: drawn once, and kept")
    for name, kind in (("checkpointing_steps", int), ("sample_steps", int), ("max_train_seconds", float)):
        parser.add_argument(f"--{name}", type=kind, help=f"of {', '.join(PLANNED)}")
    parser.add_argument(
        "--dataloader_num_workers", type=int, default=0, help="processes that draw scenes, for a GPU beside many cores"
    )
    given = vars(parser.parse_args(arguments))
    if given["dataloader_num_workers"] < 0:
        parser.error(f"`--dataloader_num_workers` must be at least 0, got {given['dataloader_num_workers']}.")
    if given["training_seeds"] < 1:
        parser.error(f"`--training_seeds` must be at least 1, got {given['training_seeds']}.")
    fields = TrainingPlan.__dataclass_fields__
    overrides = {name: value for name, value in given.items() if name in fields and value is not None}
    asked = [name for name in overrides if name != "device" and given[name] != parser.get_default(name)]
    of_stages = {"train_batch_size": BATCHED, "scenes": DRAWN, "start_from": STARTED, **dict.fromkeys(asked, PLANNED)}
    for name, stages in of_stages.items():
        if given[name] is None:
            continue
        if name in ("train_batch_size", "scenes", "max_train_steps") and given[name] < 1:
            parser.error(f"`--{name}` must be at least 1, got {given[name]}.")
        if given["stage"] not in (*stages, "all"):
            parser.error(f"`--{name}` is for {', '.join(stages)} and all, got the stage {given['stage']}.")
    if given["model"] is not None and (fault := model_fault(given)):
        parser.error(fault)
    torch.set_num_threads(given["threads"])
    made_for(given["output_dir"], rehearsal=given["toy"])
    if given["toy"]:
        overrides.setdefault("max_train_steps", TOY_STEPS)
    for stage in STAGES if given["stage"] == "all" else (given["stage"],):
        options = {name: given[name] for name in ("export_dir", "training_seeds", "start_from", "toy", "model")}
        options |= {"batch": given["train_batch_size"], "scenes": given["scenes"]}
        if run_stage(stage, given["output_dir"], overrides, given["mixed_precision"], **options) is False:
            print(f"{stage} stopped before its last step; start the same command again to go on.")
            break


if __name__ == "__main__":
    main()
