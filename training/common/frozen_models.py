"""The frozen models around what trains: loaded once, moved between CPU and accelerator."""

import contextlib
import gc

import torch
from diffusers import AutoencoderKL

from relationbooth_pipeline import RelationBoothPipeline


def load_base(args, dtype: torch.dtype) -> RelationBoothPipeline:
    """The base model that the options of `triplet_arguments` name, with their VAE."""
    hub, parts = {"revision": args.revision, "cache_dir": args.cache_dir, "token": args.hub_token}, {}
    if args.pretrained_vae_model_name_or_path is not None:
        parts["vae"] = AutoencoderKL.from_pretrained(args.pretrained_vae_model_name_or_path, dtype=dtype)
    pipe = RelationBoothPipeline.from_pretrained(
        args.pretrained_model_name_or_path, dtype=dtype, variant=args.variant, **hub, **parts
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def freeze(pipe) -> None:
    """No model of the pipeline trains."""
    for model in pipe.components.values():
        if isinstance(model, torch.nn.Module):
            model.requires_grad_(False).eval()


@contextlib.contextmanager
def everything_on(pipe, device, stay: tuple[str, ...] = ("unet",)):
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


def fit_vae_for_encoding(vae) -> None:
    """SDXL's own VAE overflows in float16: such a one encodes in float32."""
    if vae.config.force_upcast and vae.dtype == torch.float16:
        vae.to(torch.float32)


@contextlib.contextmanager
def own_forward(model):
    """Inside, the model answers in its own dtype: accelerate's wrapper returns float32, which a VAE in bf16 refuses."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped
