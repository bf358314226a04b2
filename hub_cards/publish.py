"""Build and upload the Hub repositories of this project.

    python -m hub_cards.publish export FOLDER                        # the miniature, complete, loads without pip
    python -m hub_cards.publish export FOLDER --pipeline PATH --adapter PATH
    python -m hub_cards.publish upload FOLDER ORG/NAME
    python -m hub_cards.publish space FOLDER ORG/NAME                # the page as a Space; FOLDER alone: build only

An exported folder is a whole pipeline: weights, the component code that `DiffusionPipeline.from_pretrained(folder,
trust_remote_code=True)` needs, and its card.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch

import relationbooth_pipeline.miniature
from hub_cards.space import build_space, is_space
from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.exchange.kohya import kohya_name, write_kohya
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME, whole_folder
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
        card: name of a folder beside this program. relation_loras: folder of RelationLoRAs that go with it,
            each with its kohya-keyed twin, and with the folder `references` beside it where there is one.
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
        for config in fresh.glob("*/config.json"):
            _load_in_one_dtype(config)
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
            for file in sorted((fresh / "relation_loras").glob(f"*/{LORA_WEIGHT_NAME}")):
                write_kohya(file, file.with_name(kohya_name(file)))
            if (references := relation_loras.with_name("references")).is_dir():
                shutil.copytree(references, fresh / "references")
        shutil.copy(CARDS / card / "README.md", fresh)
        for picture in sorted((CARDS / card).glob("*.png")):  # of the card's gallery
            shutil.copy(picture, fresh)


def _load_in_one_dtype(config: Path) -> None:
    """transformers loads a model in its config's dtype, diffusers in float32: without `dtype=` they would differ."""
    values = json.loads(config.read_text(encoding="utf-8"))
    if "dtype" in values:
        config.write_text(json.dumps(values | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")


def load(pipeline: str | None, adapter: str | None, dtype: torch.dtype = torch.float16) -> RelationBoothPipeline:
    """What is to be exported; the embedded miniature by default. Half precision halves what everybody downloads.

    Raises:
        ValueError: `pipeline` is a folder that holds none.
    """
    if pipeline is None:
        weights = relationbooth_pipeline.miniature.path()
        pipeline, adapter = str(weights), adapter or str(weights / "relation_adapter")
    elif Path(pipeline).is_dir() and not (Path(pipeline) / "model_index.json").is_file():
        raise ValueError(
            f"`--pipeline` must be a pipeline's folder, but `{pipeline}` has no `model_index.json`. Check the path."
        )
    pipe = RelationBoothPipeline.from_pretrained(pipeline, dtype=dtype)
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
    exporting.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    uploading = commands.add_parser("upload")
    uploading.add_argument("folder", type=Path)
    uploading.add_argument("repository", help="ORG/NAME")
    uploading.add_argument("--private", action="store_true")
    space = commands.add_parser("space")
    space.add_argument("folder", type=Path)
    space.add_argument("repository", nargs="?", help="ORG/NAME; default: build only")
    space.add_argument("--private", action="store_true")
    given = parser.parse_args(arguments)
    try:
        if given.command == "export":
            own = {}
            if given.pipeline is None:
                loras = relationbooth_pipeline.miniature.path() / "relation_loras"
                own = {"card": "relationbooth-miniature", "relation_loras": loras}
            export(load(given.pipeline, given.adapter, getattr(torch, given.dtype)), given.folder, **own)
        elif given.command == "space":
            if given.repository is not None and is_space(given.folder):  # an upload that failed is taken up again
                print(f"`{given.folder}` holds a Space already: that one is pushed. Remove it to build another.")
            else:
                build_space(given.folder)
            if given.repository is not None:
                push(given.folder, given.repository, given.private, "space")
        else:
            upload(given.folder, given.repository, given.private)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def upload(folder: Path, repository: str, private: bool = False) -> None:
    """Push an exported folder to the Hub, with the token of `hf auth login`."""
    if not (folder / "model_index.json").is_file() or not (folder / "pipeline.py").is_file():
        raise ValueError(f"`{folder}` is no exported pipeline. Run `export` first.")
    if "." in repository:
        raise ValueError(f"the repository's name must not hold a dot, got {repository!r}.")
    push(folder, repository, private, "model")


def push(folder: Path, repository: str, private: bool, kind: str) -> None:
    """Create the repository where there is none and upload what differs.

    Raises:
        ValueError: the Hub refused; what it has stays as it was, and the same call goes on where this one ended.
    """
    from huggingface_hub import HfApi

    api, sdk = HfApi(), {"space_sdk": "gradio"} if kind == "space" else {}
    try:
        api.create_repo(repository, repo_type=kind, private=private, exist_ok=True, **sdk)
        api.upload_folder(repo_id=repository, repo_type=kind, folder_path=folder, commit_message=f"Upload {kind}")
    except (OSError, ValueError) as error:  # the Hub's client raises kinds of both
        raise ValueError(f"`{repository}` was not uploaded ({error}). Check name and token, then try again.") from error


if __name__ == "__main__":
    sys.exit(main())
