"""What a file or folder holds: pictures and sheets, LoRAs, adapters, checkpoints, pipelines, triplets."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..relation_files import PICKLE_SUFFIXES, is_pickle, read_checkpoint
from ..relation_images import open_image
from ..sheets.png_settings import read_png_settings
from ..sheets.watermark import watermark_told
from .file_kinds import foreign_kind

# Modules that import diffusers come inside functions: pictures are told without its seconds.

_DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_down.weight")


def summary(path: str | Path) -> dict[str, Any]:
    """A JSON-ready description; `kind` says what it is.

    Raises:
        ValueError: missing, damaged, or nothing that we know.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise ValueError(f"there is no `{path}`. Check the path.")
    if path.suffix.lower() == ".png":
        return _picture(path)
    kind = foreign_kind(path)
    if kind is None and path.suffix.lower() == ".safetensors":
        return _safetensors(path)
    if kind is None and is_pickle(path):
        return _checkpoint(path, read_checkpoint(path))
    kinds = f"a folder, .png, .safetensors or {', '.join(PICKLE_SUFFIXES)}"
    raise ValueError(f"`{path}` must be {kinds}, got {kind or repr(path.suffix)}.")


def _picture(path: Path) -> dict[str, Any]:
    settings, told = read_png_settings(path), watermark_told(open_image(path))
    if settings is None and not told.startswith("found"):
        raise ValueError(
            f"`{path}` carries no settings: `relationbooth` did not write it, or another program did. "
            f"SDXL's watermark: {told}."
        )
    kind = "generated picture" if settings is None else settings.get("kind", "generated picture")
    return {"kind": kind, "settings": settings, "watermark": told}


def _folder(path: Path) -> dict[str, Any]:
    if (path / "model_index.json").is_file():
        index = _json(path / "model_index.json")
        parts = {k: v[1] for k, v in index.items() if isinstance(v, list) and len(v) == 2 and not k.startswith("_")}
        extras = sorted(p.name for p in (path / "relation_loras").glob("*") if p.is_dir())
        found = {"kind": "pipeline", "class": index.get("_class_name"), "components": parts, "relation_loras": extras}
        return {**found, "bytes": _size(path)}
    if (path / "config.json").is_file():
        config = _json(path / "config.json")
        if config.get("_class_name") == "RelationAdapter":
            return _adapter(path, config)
        if "LocalImageEncoder" in (config.get("architectures") or []):
            keys = ("hidden_size", "num_hidden_layers", "image_size", "patch_size", "projection_dim")
            return {"kind": "local image encoder", **{key: config.get(key) for key in keys}, "bytes": _size(path)}
        name = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
        return {"kind": "model", "class": name, "bytes": _size(path)}
    if any((path / name).is_file() for name in ("metadata.jsonl", "prompts.json")):
        return _triplets(path)
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        return _safetensors(files[0])
    found = {file.name: _safetensors(file) for file in files}
    found |= {f"{file.parent.name}/{file.name}": _safetensors(file) for file in sorted(path.glob("*/*.safetensors"))}
    if found:
        return {"kind": "folder of LoRAs and checkpoints", "files": found, "bytes": _size(path)}
    raise ValueError(
        f"`{path}` holds no adapter, LoRA, pipeline or triplets that we know (no config.json, model_index.json, "
        "metadata.jsonl, prompts.json or .safetensors). Name a folder inside it, or a file."
    )


def _triplets(path: Path) -> dict[str, Any]:
    from ..triplets import read_triplets

    triplets = read_triplets(path)
    return {
        "kind": "triplets",
        "layout": "ours" if (path / "metadata.jsonl").is_file() else "released",
        "triplets": len(triplets),
        "predicates": dict(Counter(triplet.predicate for triplet in triplets)),
        "objects": sorted({len(triplet.phrases) for triplet in triplets}),
        "with_masks": sum(triplet.masks is not None for triplet in triplets),
        "keypoint_orders": sorted({triplet.keypoint_order for triplet in triplets}),
        "bytes": _size(path),
    }


def _adapter(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    resampler, widths = config.get("resampler_config"), config.get("layer_widths")
    whole = isinstance(resampler, dict) and isinstance(widths, dict)
    if not whole or not all(isinstance(width, int) for width in widths.values()):
        raise ValueError(
            f"`{path / 'config.json'}` of a RelationAdapter must have `resampler_config`, an object, and "
            "`layer_widths`, a whole number for each layer. Download the folder again."
        )
    return {
        "kind": "relation adapter",
        "layers": len(widths),
        "layer_widths": sorted(set(widths.values())),
        "context_width": resampler.get("output_dim"),
        "tokens_per_object": resampler.get("num_queries"),
        "local_grid": config.get("local_grid"),
        "background_tokens_active": config.get("background_tokens_active"),
        "brings": [name for name in ("image_encoder", "local_image_encoder") if (path / name).is_dir()],
        "names": {name: config.get(name) for name in ("image_encoder", "local_image_encoder")},
        "bytes": _size(path),
    }


def _safetensors(path: Path) -> dict[str, Any]:
    from ..relation_regions import read_relation_metadata

    try:
        with safe_open(path, "pt") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
            dtypes = sorted({file.get_slice(key).get_dtype() for key in shapes})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"`{path}` is no intact safetensors file ({error}). Download it again.") from error
    downs = {key: shape for key, shape in shapes.items() if key.endswith(_DOWN)}
    if not downs:
        return _checkpoint(path, shapes)
    layers = {key[: -len(next(end for end in _DOWN if key.endswith(end)))] for key in downs}
    metadata = read_relation_metadata(path)
    return {
        "kind": "LoRA" if metadata is None else "RelationLoRA",
        "rank": sorted({shape[0] for shape in downs.values()}),
        "layers": len(layers),
        "parts": sorted(
            {layer.rpartition("attn")[2].partition(".")[2] or layer.rpartition(".")[2] for layer in layers}
        ),
        "dtype": dtypes,
        "relation": None if metadata is None else asdict(metadata),
        "bytes": path.stat().st_size,
    }


def _checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of others, from its keys: values may be tensors, shapes or nested dicts."""
    from ..relation_conversion import adapter_groups

    keys = [str(key) for key in checkpoint]
    if any(key.partition(".")[0] == "image_proj" for key in keys):
        projections = adapter_groups(checkpoint, f"`{path}`")["ms_adapter"]
        found = {"kind": "MS-Diffusion adapter (relationbooth convert)", "layers": len(projections) // 2}
        return {**found, "bytes": path.stat().st_size}
    inner = checkpoint.get("state_dict", checkpoint)
    if any("visual." in str(key) for key in inner):
        return {"kind": "open_clip checkpoint (relationbooth convert)", "bytes": path.stat().st_size}
    if any(key.startswith("conditioner.embedders.") for key in keys):
        return {"kind": "whole SDXL checkpoint (--model)", "tensors": len(keys), "bytes": path.stat().st_size}
    return {"kind": "unknown", "tensors": len(keys), "first_keys": sorted(keys)[:5], "bytes": path.stat().st_size}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{path}` is no valid JSON ({error}). Download it again.") from error
    if not isinstance(found, dict):
        raise ValueError(f"`{path}` must hold a JSON object, got {type(found).__name__}. Download it again.")
    return found


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
