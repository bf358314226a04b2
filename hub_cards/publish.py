"""Build and upload the Hub repositories of this project.

    python hub_cards/publish.py export FOLDER                        # the miniature, complete, loads without pip
    python hub_cards/publish.py export FOLDER --pipeline PATH --adapter PATH
    python hub_cards/publish.py upload FOLDER ORG/NAME

An exported folder is a whole pipeline: weights, the component code that `DiffusionPipeline.from_pretrained(folder,
trust_remote_code=True)` needs, and its card.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import relationbooth_pipeline.miniature
from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_files import whole_folder
from relationbooth_pipeline.relation_loaders import LOAD_WITH

CARDS = Path(__file__).parent
PACKAGE = Path(relationbooth_pipeline.__path__[0])
CODE = ("pipeline.py", *sorted(file.name for file in PACKAGE.glob("relation_*.py")))
# Component → its module and class. diffusers takes a component's code from the component's own folder, and from there
# the Hub door downloads the one file that `model_index.json` names, none of its siblings. So that file only points to
# the module that `pipeline.py` has imported already; thus pipeline and component also share their classes.
COMPONENTS = {
    "relation_adapter": ("relation_adapter", "RelationAdapter"),
    "local_image_encoder": ("relation_image_encoder", "LocalImageEncoder"),
}
COMPONENT_CODE = '''"""Points to the class that `pipeline.py` has imported: load the whole pipeline."""

from . import {module} as _module  # written so, diffusers' loader does not look for the module in this folder

{name} = _module.{name}
'''


def export(
    pipe: RelationBoothPipeline, folder: Path, card: str = "relationbooth-sdxl", relation_loras: Path | None = None
) -> None:
    """Write a pipeline to a new folder that loads without our package; whole or not at all.

    Args:
        card: name of a folder beside this program. relation_loras: folder of RelationLoRAs that go with it.
    Raises:
        ValueError: the folder exists, its name holds a dot, or no adapter is loaded.
    """
    pipe.check_adapter()
    if "." in folder.name:
        raise ValueError(
            f"the folder's name must not hold a dot (sibling imports of a repository break), got `{folder.name}`."
        )
    with whole_folder(folder) as fresh:
        pipe.save_pretrained(fresh)
        for name in CODE:
            shutil.copy(PACKAGE / name, fresh)
        index = json.loads((fresh / "model_index.json").read_text(encoding="utf-8"))
        index["_class_name"] = ["pipeline", RelationBoothPipeline.__name__]
        index.pop(LOAD_WITH[0])  # the folder brings the class itself
        for component, (module, name) in COMPONENTS.items():
            if index[component][0] is None:
                continue
            # A name of its own: all code is copied into one folder, where it must not replace the module.
            index[component][0] = f"component_{component}"
            code = COMPONENT_CODE.format(module=module, name=name)
            (fresh / component / f"component_{component}.py").write_text(code, encoding="utf-8")
        (fresh / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
        if relation_loras is not None:
            shutil.copytree(relation_loras, fresh / "relation_loras")
        shutil.copy(CARDS / card / "README.md", fresh)


def load(pipeline: str | None, adapter: str | None) -> RelationBoothPipeline:
    """What is to be exported; the embedded miniature by default."""
    if pipeline is None:
        weights = relationbooth_pipeline.miniature.path()
        pipeline, adapter = str(weights), adapter or str(weights / "relation_adapter")
    pipe = RelationBoothPipeline.from_pretrained(pipeline)
    if adapter is not None:
        pipe.load_relation_adapter(adapter)
    return pipe


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    exporting = commands.add_parser("export")
    exporting.add_argument("folder", type=Path)
    exporting.add_argument("--pipeline", help="folder or repository; default: the miniature")
    exporting.add_argument("--adapter", help="adapter to load into it")
    uploading = commands.add_parser("upload")
    uploading.add_argument("folder", type=Path)
    uploading.add_argument("repository", help="ORG/NAME")
    uploading.add_argument("--private", action="store_true")
    given = parser.parse_args(arguments)
    try:
        if given.command == "export":
            own = {}
            if given.pipeline is None:
                loras = relationbooth_pipeline.miniature.path() / "relation_loras"
                own = {"card": "relationbooth-miniature", "relation_loras": loras}
            export(load(given.pipeline, given.adapter), given.folder, **own)
        else:
            upload(given.folder, given.repository, given.private)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def upload(folder: Path, repository: str, private: bool = False) -> None:
    """Push an exported folder to the Hub, with the token of `hf auth login`."""
    from huggingface_hub import HfApi

    if not (folder / "model_index.json").is_file() or not (folder / "pipeline.py").is_file():
        raise ValueError(f"`{folder}` is no exported pipeline. Run `export` first.")
    if "." in repository:
        raise ValueError(f"the repository's name must not hold a dot, got {repository!r}.")
    api = HfApi()
    api.create_repo(repository, private=private, exist_ok=True)
    api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload RelationBooth pipeline")


if __name__ == "__main__":
    sys.exit(main())
