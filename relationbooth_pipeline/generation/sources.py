"""From what the settings name to a loaded pipeline."""

import functools
import importlib.util
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import CLIPTokenizer

from .. import miniature
from ..digests import named_source, sha256
from ..pipeline import RelationBoothPipeline
from ..relation_files import find_lora_file
from ..relation_regions import read_relation_metadata
from .checks import MAX_LORA_WEIGHT, check_number, check_source
from .settings import SOURCES, GenerationSettings

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# In every one-file SDXL checkpoint, and nowhere else: diffusers tells them by it, too.
SINGLE_FILE_KEY = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"
OFFLOADS = {
    "none": None,
    "model": "enable_model_cpu_offload",
    "sequential": "enable_sequential_cpu_offload",
}


def resolve_sources(settings: GenerationSettings) -> GenerationSettings:
    """A copy with paths in place of the miniature's names, and with what the model's folder brings; nothing loads yet.

    A folder with `relation_adapter/` in it brings its adapter; `--lora NAME` finds `relation_loras/NAME` there. A LoRA
    without a weight gets the one that its header suggests, in `settings` too; one of the Hub is fetched for it.
    """
    folder = Path(miniature.path() if settings.model == "miniature" else settings.model)
    resolved = replace(settings, model=str(folder) if settings.model == "miniature" else settings.model)
    if settings.adapter is None and folder.is_dir() and (folder / "relation_adapter" / "config.json").is_file():
        if not _is_component(folder, "relation_adapter"):
            resolved.adapter = str(folder / "relation_adapter")
    if Path(resolved.model).is_file():
        _check_single_file(resolved.model)
    check_device(settings)
    loras = []
    for source, weight in settings.lora:
        own = folder / "relation_loras" / source
        if not Path(source).exists() and own.is_dir():
            source = str(own)
        if "/" not in source and not Path(source).exists():
            known = sorted(p.name for p in (folder / "relation_loras").glob("*") if p.is_dir())
            raise ValueError(
                f"`--lora` must be a file, a folder or a Hub repository (owner/name), got `{source}`."
                + (f" This model's own: {', '.join(known)}." if known else " Check the path.")
            )
        check_source("--lora", source, files=(".safetensors",))
        loras.append((source, _suggested_scale(source) if weight is None else weight))
    resolved.lora = loras
    settings.lora = [(given, weight) for (given, _), (_, weight) in zip(settings.lora, loras)]
    return resolved


def is_miniature(settings: GenerationSettings) -> bool:
    """Whether resolved settings name the embedded miniature."""
    return Path(settings.model).is_dir() and Path(settings.model).resolve() == miniature.path().resolve()


def load_pipeline(settings: GenerationSettings, needs_adapter: bool) -> RelationBoothPipeline:
    """The pipeline with adapter and LoRAs, on its device.

    Raises:
        ValueError: something could not be loaded; names what and why.
    """
    device = resolved_device(settings.device)
    dtype = DTYPES[resolved_dtype(settings.dtype, device)]
    single_file = Path(settings.model).is_file()
    load = RelationBoothPipeline.from_single_file if single_file else RelationBoothPipeline.from_pretrained
    options = {"torch_dtype" if single_file else "dtype": dtype}
    if settings.adapter is not None and not single_file:
        options["relation_adapter"] = None  # the model's own is not wanted
    pipe = _loaded(f"the model `{settings.model}`", load, settings.model, **options)
    if settings.adapter == "none":
        pipe.unload_relation_adapter()
    elif settings.adapter is not None:
        options = {"weight_name": settings.adapter_weight_name}
        if settings.image_encoder is not None:
            options["image_encoder"] = settings.image_encoder
        if settings.local_image_encoder is not None:
            off = settings.local_image_encoder == "none"
            options["local_image_encoder"] = None if off else settings.local_image_encoder
        _loaded(f"the adapter `{settings.adapter}`", pipe.load_relation_adapter, settings.adapter, **options)
    check_adapter(pipe, settings, needs_adapter)
    load_loras(pipe, settings.lora)
    move = getattr(pipe, OFFLOADS[settings.offload] or "to")
    _loaded(f"the model `{settings.model}`, which goes to `{device}`,", move, device=torch.device(device))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def check_adapter(pipe: RelationBoothPipeline, settings: GenerationSettings, needs_adapter: bool) -> None:
    """Raise a ValueError when image prompts are given and nothing in `pipe` reads them."""
    if needs_adapter and pipe.relation_adapter is None:
        raise ValueError(f"`--image` needs an adapter, and `{settings.model}` brings none. Name one with `--adapter`.")


def load_loras(pipe: RelationBoothPipeline, loras: list[tuple[str, float]]) -> None:
    """Let exactly these LoRAs act in `pipe`: (source, weight) each, as `resolve_sources` gives them.

    Files are read again only when others than the loaded ones are named, or came in their place; weights alone cost
    nothing.
    """
    # The name tells the file's content, so that the pipeline itself says what is loaded.
    files = [lora_file(source) for source, _ in loras]
    names = [f"lora_{i}_{sha256(file)[:16]}" for i, file in enumerate(files)]
    loaded = {name for names in pipe.get_list_adapters().values() for name in names}
    if loaded != set(names):
        if loaded:
            pipe.unload_lora_weights()
        for name, (source, _), file in zip(names, loras, files):
            _loaded(f"the LoRA `{source}`", pipe.load_lora_weights, str(file), adapter_name=name)
    if names:
        pipe.set_adapters(names, [weight for _, weight in loras])


def resolved_device(device: str) -> str:
    """ "auto" → the best device at hand."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolved_dtype(dtype: str, device: str, accelerated: str = "float16") -> str:
    """ "auto" → the name of the dtype on a resolved device. `accelerated`: on any but the CPU."""
    if dtype != "auto":
        return dtype
    return "float32" if device.startswith("cpu") else accelerated


def deciding_record(resolved: GenerationSettings) -> dict[str, str]:
    """What names alone do not tell of the models that draw: each source with the digest of what lies there, which may
    be trained anew into the same place, and the dtype that "auto" means here.

    Args:
        resolved: as `resolve_sources` gives them.
    """
    name = {"model": "miniature"} if is_miniature(resolved) else {}
    given = {source: getattr(resolved, source) for source in SOURCES}
    told = {source: named_source(value, name.get(source)) for source, value in given.items() if value is not None}
    return told | {"dtype": resolved_dtype(resolved.dtype, resolved_device(resolved.device))}


def unknown_words(tokenizer: CLIPTokenizer, texts: Iterable[str]) -> list[str]:
    """Words that `tokenizer` splits. The miniature's gives every word of its training captions exactly one token."""
    words = dict.fromkeys(word for text in texts for word in re.findall(r"[^\W_]+", text.lower()))
    return [word for word in words if len(tokenizer(word).input_ids) - 2 != 1]


def _check_single_file(model: str) -> None:
    """Only the file's header is read. diffusers takes any other file for Stable Diffusion 1 and fails on the way."""
    try:
        with safe_open(model, "pt") as file:
            is_sdxl = SINGLE_FILE_KEY in file.keys()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"`--model`: `{model}` is no intact safetensors file ({error}). Download it again.") from error
    if not is_sdxl:
        raise ValueError(
            f"`--model`: `{model}` is no whole SDXL checkpoint (UNet, VAE and both text encoders in one file). "
            "Adapters go to `--adapter`, LoRAs to `--lora`; other bases than SDXL do not fit."
        )


def check_device(settings: GenerationSettings) -> None:
    """Raise a ValueError for a `device`, `dtype` or `offload` that this machine does not have."""
    for name, known in (("dtype", ("auto", *DTYPES)), ("offload", tuple(OFFLOADS))):
        if getattr(settings, name) not in known:
            raise ValueError(f"`--{name}` must be one of {', '.join(known)}, got {getattr(settings, name)!r}.")
    try:
        kind = torch.device(resolved_device(settings.device)).type
    except RuntimeError as error:
        raise ValueError(f"`--device` must be auto, cpu, cuda, cuda:N or mps, got {settings.device!r}.") from error
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(kind, False):
        raise ValueError(
            f"`--device {settings.device}`: this machine (or this torch build) has none. Use `--device cpu`."
        )
    if settings.offload != "none":
        if kind == "cpu":
            raise ValueError(
                f"`--offload {settings.offload}` moves models between an accelerator and the CPU, but the device is "
                "the CPU. Leave `--offload` out, or name an accelerator with `--device`."
            )
        if importlib.util.find_spec("accelerate") is None:
            raise ValueError("`--offload` needs the package accelerate: `pip install accelerate`.")


def _loaded(what: str, load: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return load(*args, **kwargs)
    except ValueError:
        raise
    except Exception as error:  # diffusers, safetensors and the Hub raise a dozen kinds; the cause is kept
        raise ValueError(f"{what} could not be loaded ({type(error).__name__}): {error}") from error


def lora_file(source: str) -> Path:
    """The file of a LoRA; fetched from the Hub when it is none here."""
    return find_lora_file(source, only=True) if Path(source).exists() else _fetched_lora(source)


@functools.cache  # asked once a process: a batch and the page draw on when the network is gone
def _fetched_lora(repository: str) -> Path:
    return find_lora_file(repository)  # of several the first, with a warning: none can be named behind `--lora`


def _suggested_scale(source: str) -> float:
    """What a RelationLoRA's header suggests, else 1."""
    file = lora_file(source)
    metadata = read_relation_metadata(file)
    if metadata is None:
        return 1.0
    check_number(f"scale in the header of {file}", metadata.scale, 0.0, MAX_LORA_WEIGHT)
    return metadata.scale


def _is_component(folder: Path, name: str) -> bool:
    index = folder / "model_index.json"
    return index.is_file() and bool(json.loads(index.read_text(encoding="utf-8")).get(name, [None])[0])
