"""Stage "export": the folder that ships, in half precision: an SDXL pipeline, the adapter and its encoders."""

import json
import random
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from relationbooth_pipeline.pipeline import RelationBoothPipeline

from ...common.made_for import BASE, made_for, weights_digest
from ..world.proportions import PROPORTIONS
from ..world.rendering import render
from ..world.splits import held_out_characters

# Keys of the demo's characters, by phrase; the split holds both out of all training.
REFERENCES = {"cat": "cat/red/plain/scarf", "bear": "bear/blue/spotted/none"}
MAX_BYTES = 44_000_000  # the pip package has to stay small: 40 MB for the pipeline, 4 for judges, towers and annotator


def export(root, export_dir, model=None):
    """Write `root`'s pipeline to `export_dir` in float16, and `export_dir`/relation_adapter and judges if their
    stages have run.

    Args:
        model: pipeline folder that the adapter in `root` was trained for: its pipeline and judges are written then. Its
            RelationLoRAs are not: they know its own adapter.
    Raises:
        RuntimeError: the folder exceeds 44 MB or a weight leaves float16's range.
        ValueError: the adapter was trained for another base.
    """
    base, trained, export_dir = Path(model or root / "base" / "pipeline"), root / "adapter" / "model", Path(export_dir)
    if trained.exists():
        made_for(trained.parent, base=weights_digest(base, BASE))
    if export_dir.exists():
        shutil.rmtree(export_dir)
    pipeline = StableDiffusionXLPipeline.from_pretrained(base)
    better_decoder = root / "decoder" / "model"
    if better_decoder.exists():
        pipeline.register_modules(vae=AutoencoderKL.from_pretrained(better_decoder))
    pipeline.to(torch.float16).save_pretrained(export_dir)
    if trained.exists():
        shutil.copytree(trained, export_dir / "relation_adapter")
        for path in (export_dir / "relation_adapter").rglob("*.safetensors"):
            halve(path)
    for file in sorted((Path(model or root) / "judges").glob("*.safetensors")):
        (export_dir / "judges").mkdir(exist_ok=True)
        shutil.copy(file, export_dir / "judges")
    draw_references(export_dir / "references")
    for path in export_dir.rglob("*.json"):
        neutral_config(path)
    for path in export_dir.rglob("*.safetensors"):
        bad = [name for name, weight in load_file(path).items() if not weight.isfinite().all()]
        if bad:
            raise RuntimeError(f"{path.name} holds weights beyond float16's range: {', '.join(bad[:3])}.")
    size = sum(path.stat().st_size for path in export_dir.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        raise RuntimeError(f"{export_dir} takes {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f} MB.")
    check_loads(export_dir)
    print(f"exported {size / 1e6:.1f} MB to {export_dir}")
    return True


def draw_references(folder):
    """PNG of each of the demo's characters."""
    folder.mkdir()
    held_out = {character.key: character for character in held_out_characters()}
    for phrase, key in REFERENCES.items():
        if key not in held_out:
            raise RuntimeError(f"the demo's {phrase} must be held out of training, but {key} is not.")
        shown = {"size": PROPORTIONS.prompt, "figure_scale": PROPORTIONS.portrait, "annotate": False}
        scene = render([held_out[key]], "standing", "studio", random.Random(phrase), **shown)
        Image.fromarray(scene.image).save(folder / f"{phrase}.png", optimize=True)


def neutral_config(path):
    """Drop the folder that a config was loaded from, which names the training machine, and the files' half precision.

    transformers loads a model in its config's dtype, diffusers in float32: the parts would not fit together.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    origin = config.pop("_name_or_path", None)
    if config.get("dtype") not in (None, "float32"):
        config["dtype"], origin = "float32", True
    if origin is not None:
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def halve(path):
    """Rewrite one safetensors file in float16."""
    weights = {name: weight.half().contiguous() for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def check_loads(export_dir):
    """Load what was written through the package's own door."""
    pipeline = RelationBoothPipeline.from_pretrained(export_dir)
    if (export_dir / "relation_adapter").exists():
        pipeline.load_relation_adapter(export_dir / "relation_adapter")
