"""What triplets of the data engine teach, beside exactly annotated ones.

    python -m training.miniature.measure.data_engine shaking_hands jumping --output_dir DIR

Three RelationLoRAs of a pose, by one recipe: from the world's exact annotations; from the same pictures, annotated by
the miniature's annotators; and from triplets that the miniature drew itself (targets by its base, the same characters
alone by its adapter) and the filters accepted, unseen by anybody. All draw the same cases of held-out characters, as
the adapter alone does. `--model` names another pipeline on that base, whose RelationLoRAs they become; triplets are the
embedded one's. What is finished is kept.
"""

import argparse
import json
from pathlib import Path

from relationbooth_pipeline import RelationBoothPipeline, miniature
from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.annotation import ExportOptions, export, refusals
from relationbooth_pipeline.triplets.annotators import ALL_MINIATURE, choose_all
from relationbooth_pipeline.triplets.writing import import_triplets

from ...common.made_for import PIPELINE, made_for, weights_digest
from ..stages.relation_loras import TRIPLETS, relation_template, train_one
from ..world.poses import RELATIONS
from ..world.splits import known_poses
from .annotation_quality import annotated, distinct_triplets
from .cases import ADAPTER, adapter_folder, compared, draw_cases, draw_pictures, judge, stored

EXACT, ANNOTATED, MADE = "exact annotations", "annotated", "drawn by itself"
WEIGHT = 0.7  # of a RelationLoRA whose relation the base knows, as measured in the run log
DRAWN = 3 * TRIPLETS  # pictures that are annotated, so that the filters leave enough
PAIRS = (
    ("bear", "cat"),
    ("lion", "rabbit"),
    ("duck", "pig"),
    ("frog", "elephant"),
    ("cat", "frog"),
    ("rabbit", "bear"),
)
OF_EACH = 4
SCENES = ("in a meadow", "at night", "in a studio")


def make_triplets(pose: str, folder: Path) -> None:
    """Drawn by the miniature itself, by the command that people type."""
    groups = PAIRS if pose in RELATIONS else tuple((name,) for name, _ in PAIRS)
    words = ["triplets", "make", folder, "--relation", pose, "--template", relation_template(pose)]
    words += [part for group in groups for part in ("--objects", ",".join(group))]
    words += [part for scene in SCENES for part in ("--scene", scene)]
    words += ["--count", OF_EACH, "--generator", "miniature", "--annotators", "miniature", "--batch-size", 8]
    app([str(word) for word in (*words, "--accept-all")], standalone_mode=False)


def annotated_triplets(pose: str, folder: Path) -> None:
    """`folder`/annotated and `folder`/exact: the first pictures that the filters accept, twice."""
    exact = distinct_triplets(pose, DRAWN, folder / "world")
    work = annotated(exact, choose_all(ALL_MINIATURE), folder)
    names = refusals(work)[0][:TRIPLETS]
    lines = [json.dumps({"candidate": c.id, "decision": "reject"}) for c in work.candidates() if c.id not in names]
    (work.root / "decisions.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    export(work, folder / "annotated", ExportOptions(accept_all=True))
    import_triplets([triplet for triplet in exact if triplet.image.stem in names], folder / "exact")


def triplet_folders(pose: str, root: Path) -> dict[str, Path]:
    """Row → its folder of triplets, made unless it is there."""
    folders = {EXACT: root / "exact", ANNOTATED: root / "annotated", MADE: root / "made"}
    if not (folders[EXACT] / "metadata.jsonl").exists():
        annotated_triplets(pose, root)
    if not (folders[MADE] / "metadata.jsonl").exists():
        make_triplets(pose, folders[MADE])
    return folders


def measure(
    pose: str, root: Path, judges: MiniatureJudges, model: Path, pipe: RelationBoothPipeline, count: int
) -> dict[str, list]:
    """Row → verdicts of `count` cases, drawn by `pipe` of `model`; how many triplets each row trained on is printed."""
    cases = draw_cases(pose, count, 0)
    verdicts = {}
    for row, folder in {**triplet_folders(pose, root), ADAPTER: None}.items():

        def compute(row=row, folder=folder):
            if folder is not None:
                options = {"train_data_dir": folder, "relation_adapter": adapter_folder(model)}
                lora = train_one(model, root / f"lora_{folder.name}", pose, **options)
                pipe.load_lora_weights(str(lora.parent), adapter_name="one")
                pipe.set_adapters(["one"], [WEIGHT])
            pictures = draw_pictures(pipe, cases, "species", True)
            pipe.unload_lora_weights()
            return judge(judges, cases, pictures)

        if folder is not None:
            print(f"{pose}: {row}, {len(read_triplets(folder))} triplets", flush=True)
        name = "adapter" if folder is None else folder.name
        verdicts[row] = stored(root / f"verdicts_{name}_{count}.json", compute)
    return verdicts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poses", nargs="+", choices=known_poses())
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=50, help="cases of each pose")
    parser.add_argument("--model", type=Path, default=miniature.path(), help="default: the embedded miniature")
    given = parser.parse_args(arguments)
    judges = MiniatureJudges.load()
    made_for(given.output_dir, model=weights_digest(given.model, PIPELINE), judges=judges.checkpoint)
    pipe = RelationBoothPipeline.from_pretrained(given.model)
    pipe.set_progress_bar_config(disable=True)
    judged: dict[str, dict] = {}
    for pose in given.poses:
        for row, found in measure(pose, given.output_dir / pose, judges, given.model, pipe, given.count).items():
            judged.setdefault(row, {})[pose] = found
        for reference in (EXACT, ADAPTER):
            table = compared(judged, reference)
            file = given.output_dir / f"minus_{reference.replace(' ', '_')}.json"
            file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
            print(json.dumps(table["rows"] if reference == EXACT else table["differences"], indent=1), flush=True)


if __name__ == "__main__":
    main()
