"""RelationLoRAs under kohya's keys, as ComfyUI, A1111 and Forge read them, and back.

    ours    unet.<path>.to_q.lora_A.weight (r, in), .lora_B.weight (out, r); alpha in PEFT's metadata, else r
    kohya   lora_unet_<path with _>_to_q.lora_down.weight, .lora_up.weight, .alpha

Both mean W + weight · alpha / r · B A. ComfyUI reads none of diffusers' and PEFT's keys for SDXL.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from safetensors import safe_open
from safetensors.torch import save_file

from ..relation_files import HEADER_KEY, LORA_WEIGHT_NAME, check_finite, read_checkpoint, whole_file
from ..relation_regions import read_relation_metadata

PEFT_HEADER = "lora_adapter_metadata"  # diffusers' entry with rank and alpha; it excludes `.alpha` keys
_DOWN = re.compile(r"(.+)\.lora(?:_A|\.down|_down)\.weight")


def is_kohya(keys: Iterable[str]) -> bool:
    """Whether these are a LoRA's keys in kohya's way of writing."""
    return any(key.startswith("lora_unet_") and key.endswith(".lora_down.weight") for key in keys)


def is_lora(keys: Iterable[str]) -> bool:
    """Whether these are a LoRA's keys, in any of its ways of writing."""
    return any(_DOWN.fullmatch(key) for key in keys)


def kohya_name(source: Path) -> str:
    """File name of the twin: people put it into a folder of many, so it says its relation."""
    return _twin_of(source, Path(source).stem)


def twin_name(relation: str) -> str:
    """File name of a relation's twin, in characters that every system takes."""
    return f"{re.sub(r'[^0-9A-Za-z_-]+', '_', relation).strip('_') or 'lora'}_kohya.safetensors"


def _twin_of(ours: Path, otherwise: str) -> str:
    metadata = read_relation_metadata(ours)
    return twin_name(metadata.relation if metadata else otherwise)


def write_kohya(source: Path, target: Path) -> None:
    """Write a LoRA of ours to `target` under kohya's keys; the relation stays in the header.

    Raises:
        ValueError: `source` is no UNet LoRA, or holds numbers that are not finite.
    """
    state, header = _peft_state(source)
    alphas = _alphas(state, header)
    kohya = {}
    for key, tensor in convert_state_dict_to_kohya(state).items():
        if key.endswith(".alpha"):
            tensor = torch.tensor(alphas[key.removesuffix(".alpha")])
        kohya[key] = tensor.contiguous()
    ranks = {len(tensor) for key, tensor in state.items() if ".lora_A." in key}
    told = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(max(ranks)),
        "ss_network_alpha": f"{max(alphas.values()):g}",
        "ss_base_model_version": "sdxl_base_v1-0",
    }
    with whole_file(target) as temporary:
        save_file(kohya, temporary, metadata=_relation_entry(header) | told)


def read_kohya(source: Path, target: Path, unet: UNet2DConditionModel) -> None:
    """Write a kohya-keyed LoRA to `target` as ours, alpha multiplied into B; the relation stays in the header.

    Args:
        unet: of the LoRA's base, or one without weights: its shape tells where kohya's numbered blocks are.
    Raises:
        ValueError: layers of the text encoders, keys that no layer of `unet` has, or numbers that are not finite.
    """
    given, header = _read(source)
    if foreign := sorted(key for key in given if not key.startswith("lora_unet_")):
        raise ValueError(f"`{source}` holds more than UNet layers (first: `{foreign[0]}`). A RelationLoRA has none.")
    state, alphas = StableDiffusionXLPipeline.lora_state_dict(dict(given), unet_config=unet.config)
    layers = dict(unet.named_modules())
    ours = {}
    for key, tensor in state.items():
        if not key.endswith("lora.down.weight"):
            continue
        # diffusers gives attention layers as "….processor.to_k_lora.down.weight", others as "….lora.down.weight".
        path = key.removeprefix("unet.").removesuffix("lora.down.weight")[:-1].replace(".processor.", ".")
        path = f"{path}.0" if path.endswith(".to_out") else path
        if path not in layers:
            raise ValueError(
                f"`{source}` does not fit the UNet: it has no layer `{path}`. Name the base with `--unet`."
            )
        up = state[key.replace("lora.down", "lora.up")]
        alpha = (alphas or {}).get(f"{key}.alpha", len(tensor))
        ours[f"unet.{path}.lora_A.weight"] = tensor.contiguous()
        ours[f"unet.{path}.lora_B.weight"] = (up * (float(alpha) / len(tensor))).contiguous()
    if len(ours) != len([key for key in given if not key.endswith(".alpha")]):
        raise ValueError(
            f"`{source}` holds layers that are no plain LoRA (LoHa, DoRA, …): ours has lora_down and lora_up alone."
        )
    check_finite(ours, f"`{source}`")
    with whole_file(target) as temporary:
        save_file(ours, temporary, metadata=_relation_entry(header))


def write_both(source: Path, folder: Path, unet: UNet2DConditionModel) -> list[str]:
    """Fill `folder` with our file and its twin, from either; their names.

    Raises:
        ValueError: as `read_kohya` and `write_kohya`.
    """
    ours = folder / LORA_WEIGHT_NAME
    given, _ = _read(source)
    if is_kohya(given):
        read_kohya(source, ours, unet)
    else:
        state, header = _peft_state(source)
        layers = dict(unet.named_modules())
        for key in state:
            if (path := key.removeprefix("unet.").partition(".lora_")[0]) not in layers:
                raise ValueError(
                    f"`{source}` does not fit the UNet: it has no layer `{path}`. Name the base with `--unet`."
                )
        with whole_file(ours) as temporary:
            save_file(given, temporary, metadata=header)
    twin = _twin_of(ours, Path(source).stem)
    write_kohya(ours, folder / twin)
    return [LORA_WEIGHT_NAME, twin]


def _read(source: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header of a LoRA; a pickle has no header.

    Raises:
        ValueError: damaged, or a pickle that holds anything but named tensors.
    """
    state = read_checkpoint(source)
    if Path(source).suffix == ".safetensors":
        with safe_open(source, "pt") as file:
            return state, dict(file.metadata() or {})
    named = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if foreign := [key for key in state if key not in named]:
        raise ValueError(
            f"`{source}` holds more than named tensors (first: `{foreign[0]}`). Save those of the LoRA as safetensors."
        )
    # safetensors writes neither strided tensors nor such as share their memory; a pickle may hold both.
    return {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in named.items()}, {}


def _peft_state(source: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors under PEFT's keys, and the header."""
    given, header = _read(source)
    state = {}
    for key, tensor in given.items():
        key = re.sub(r"\.lora\.(down|up)\.", lambda m: f".lora_{'A' if m[1] == 'down' else 'B'}.", key)
        key = key.replace(".processor.", ".")
        if not key.startswith("unet.") or not key.endswith((".lora_A.weight", ".lora_B.weight")):
            raise ValueError(f"`{source}` holds `{key}`: only plain LoRAs of the UNet have a kohya-keyed twin.")
        state[key] = tensor
    check_finite(state, f"`{source}`")
    return state, header


def _alphas(state: dict[str, torch.Tensor], header: dict[str, str]) -> dict[str, float]:
    """Kohya's name of each layer → alpha: PEFT's metadata when it is there, else the layer's rank (its factor is 1).

    Kohya divides by the rank always; a rank-stabilised LoRA's factor is alpha / √rank.
    """
    told = json.loads(header.get(PEFT_HEADER, "{}"))
    default, patterns = told.get("unet.lora_alpha"), told.get("unet.alpha_pattern") or {}
    found = {}
    for key, tensor in state.items():
        path = key.partition(".lora_A.")[0]
        if path == key:
            continue
        own = [value for pattern, value in patterns.items() if re.search(rf"(?:^|\.){pattern}$", path)]
        alpha = own[0] if own else default if default is not None else len(tensor)
        stabilised = len(tensor) ** 0.5 if told.get("unet.use_rslora") else 1.0
        found["lora_" + path.replace(".", "_")] = alpha * stabilised
    return found


def _relation_entry(header: dict[str, str]) -> dict[str, str]:
    return {HEADER_KEY: header[HEADER_KEY]} if HEADER_KEY in header else {}
