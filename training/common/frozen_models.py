"""The frozen models around what trains: loaded once, moved between CPU and accelerator."""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError, safe_open

from relationbooth_pipeline import RelationBoothPipeline

from .options import BaseOptions


def load_base(base: BaseOptions, dtype: torch.dtype) -> RelationBoothPipeline:
    """The base model that the options name, with their VAE."""
    parts = {} if base.pretrained_vae_model_name_or_path is None else {"vae": load_vae(base, dtype)}
    pipe = RelationBoothPipeline.from_pretrained(
        base.pretrained_model_name_or_path,
        dtype=dtype,
        variant=base.variant,
        revision=base.revision,
        **base.hub,
        **parts,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_vae(base: BaseOptions, dtype: torch.dtype) -> AutoencoderKL:
    """The VAE of `--pretrained_vae_model_name_or_path`: a folder, a repository, or one safetensors file.

    A file has no config of its own: it gets that of the base's VAE, without asking the Hub for anybody else's.

    Raises:
        ValueError: the file does not fit that config.
    """
    source = base.pretrained_vae_model_name_or_path
    if not Path(source).is_file():
        return AutoencoderKL.from_pretrained(source, dtype=dtype, **base.hub)
    config = Path(base.pretrained_model_name_or_path) / "vae"
    if not config.is_dir():
        place = {"revision": base.revision, **base.hub}
        config = Path(hf_hub_download(base.pretrained_model_name_or_path, "vae/config.json", **place)).parent
    try:
        vae = AutoencoderKL.from_single_file(source, config=str(config), dtype=dtype, local_files_only=True)
    except Exception as error:  # converters raise their own kinds for files of another shape; the cause is kept
        raise _unfit_vae(source, f"{type(error).__name__}: {error}") from error
    if missing := [name for name, weight in vae.named_parameters() if weight.is_meta]:
        raise _unfit_vae(source, f"{len(missing)} weights are missing, the first `{missing[0]}`")
    return vae


def check_vae_file(base: BaseOptions) -> None:
    """Raise a ValueError when the VAE is one file, and that is no safetensors file or damaged."""
    source = base.pretrained_vae_model_name_or_path
    if source is None or not Path(source).is_file():
        return
    if Path(source).suffix != ".safetensors":
        raise ValueError(
            f"`--pretrained_vae_model_name_or_path` must be a folder, a Hub repository or a .safetensors file, got "
            f"`{source}`. Convert it to safetensors in an environment that you trust."
        )
    try:
        with safe_open(source, "pt"):
            pass
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"`--pretrained_vae_model_name_or_path`: `{source}` cannot be read ({error}). Download it again."
        ) from error


def _unfit_vae(source: str, reason: str) -> ValueError:
    return ValueError(
        f"`--pretrained_vae_model_name_or_path` `{source}` does not fit the config of the base model's VAE ({reason}). "
        "Use a VAE made for SDXL, or a folder with a config of its own."
    )


def freeze(pipe: RelationBoothPipeline) -> None:
    """No model of the pipeline trains."""
    for model in pipe.components.values():
        if isinstance(model, torch.nn.Module):
            model.requires_grad_(False).eval()


@contextlib.contextmanager
def everything_on(
    pipe: RelationBoothPipeline, device: torch.device, stay: tuple[str, ...] = ("unet",)
) -> Iterator[None]:
    """All models on `device` inside; afterwards those of `stay` are where they were, and the others on the CPU, where
    they take no memory from the training."""
    models = {name: model for name, model in pipe.components.items() if isinstance(model, torch.nn.Module)}
    devices = {name: models[name].device if name in stay else "cpu" for name in models}
    pipe.to(device)
    try:
        yield
    finally:
        for name, model in models.items():
            model.to(devices[name])
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def fit_vae_for_encoding(vae: AutoencoderKL) -> None:
    """SDXL's own VAE overflows in float16: such a one encodes in float32."""
    if vae.config.force_upcast and vae.dtype == torch.float16:
        vae.to(torch.float32)


@contextlib.contextmanager
def own_forward(model: torch.nn.Module) -> Iterator[None]:
    """Inside, the model answers in its own dtype: accelerate's wrapper returns float32, which a VAE in bf16 refuses."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped
