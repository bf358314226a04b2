"""Load, save, scale and unload the adapter: everything is read and checked before anything of the pipeline changes."""

from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import CLIPVisionModelWithProjection

from .relation_adapter import RelationAdapter
from .relation_attention import install_parallel_attention, remove_parallel_attention
from .relation_conversion import adapter_from_released
from .relation_files import check_finite, fetched, find_file, read_checkpoint, whole_folder
from .relation_image_encoder import LocalImageEncoder

DEFAULT_SCALE = 0.6  # γ at inference and in RelationLoRA training (RelationBooth, 4.1)
# What an encoder is called in an adapter's folder → the pipeline's slot for it
ENCODER_SLOTS = {"image_encoder": "image_prompt_encoder", "local_image_encoder": "local_image_encoder"}
_HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only", "force_download")


class RelationAdapterLoaderMixin:
    """`load_relation_adapter`, `save_relation_adapter`, `set_image_prompt_scale`, `unload_relation_adapter`."""

    def load_relation_adapter(
        self,
        pretrained_model_name_or_path: str | Path,
        weight_name: str | None = None,
        subfolder: str | None = None,
        image_encoder="auto",
        local_image_encoder="auto",
        **kwargs,
    ) -> None:
        """Add the adapter and the encoders it needs.

        Args:
            pretrained_model_name_or_path: folder or Hub repository in our format (`save_relation_adapter`), or one that
                holds MS-Diffusion's file.
            weight_name: MS-Diffusion's file there, e.g. "ms_adapter.bin"; pickles are read only when named so.
            subfolder: where in the folder or repository.
            image_encoder: CLIP vision model, or a folder or repository of one. "auto": the adapter's own
                (`image_encoder/` beside its config, or the encoder of the saved pipeline that it lies in), else the
                repository that its config names.
            local_image_encoder: the same for local tokens. None turns local tokens off by name.
            revision, cache_dir, token, local_files_only, force_download: as in diffusers.
        Raises:
            ValueError: a file is missing or damaged, weights do not fit the config, the adapter does not fit the UNet,
                or an encoder has another width than the adapter reads. The pipeline is then as it was.
        """
        if unknown := set(kwargs) - set(_HUB_ARGUMENTS):
            raise ValueError(
                f"`load_relation_adapter` does not know {sorted(unknown)}. Known: {', '.join(_HUB_ARGUMENTS)}."
            )
        if weight_name is not None:
            folder = None
            file = find_file(pretrained_model_name_or_path, weight_name, subfolder, kwargs)
            adapter = adapter_from_released(read_checkpoint(file), self.unet, source=f"`{file.name}`")
        else:
            folder = _find_folder(pretrained_model_name_or_path, subfolder, kwargs)
            adapter = load_model(RelationAdapter, folder, dtype=self.unet.dtype)
            adapter.check_fits(self.unet)

        config = adapter.config
        if image_encoder == "auto":
            image_encoder = _encoder_source("image_encoder", folder, config.image_encoder)
        image_encoder = load_model(CLIPVisionModelWithProjection, image_encoder, dtype=self.unet.dtype, **kwargs)
        if local_image_encoder == "auto":
            local_image_encoder = None
            if config.local_grid:
                local_image_encoder = _encoder_source("local_image_encoder", folder, config.local_image_encoder)
        if local_image_encoder is not None:
            if not config.local_grid:
                raise ValueError("this adapter was trained without local tokens: pass `local_image_encoder=None`.")
            local_image_encoder = load_model(LocalImageEncoder, local_image_encoder, dtype=self.unet.dtype, **kwargs)
        check_widths(adapter, image_encoder, local_image_encoder)

        components = {
            "relation_adapter": adapter,
            "image_prompt_encoder": image_encoder,
            "local_image_encoder": local_image_encoder,
        }
        self._register_relation_components(components)

    def save_relation_adapter(self, save_directory: str | Path) -> None:
        """Write adapter and encoders to a folder that `load_relation_adapter` reads; whole or not at all.

        Raises:
            ValueError: no adapter is loaded or it has no encoder, `save_directory` is a file, or holds something else.
        """
        self.check_adapter()
        target = Path(save_directory)
        if target.is_dir() and any(target.iterdir()):
            others = sorted(entry.name for entry in target.iterdir() if not _is_adapter_entry(entry))
            if others or not _is_adapter_folder(target):
                raise ValueError(
                    f"`{target}` holds something other than a relation adapter ({', '.join(others[:3])}). Choose a new "
                    "or empty folder."
                )
        if self.image_prompt_encoder is None:
            raise ValueError(
                "the adapter's `image_prompt_encoder` is missing, and the folder would not load without it. Load the "
                "adapter with its encoders again."
            )
        with whole_folder(target, replace=True) as fresh:
            self.relation_adapter.save_pretrained(fresh)
            self.image_prompt_encoder.save_pretrained(fresh / "image_encoder")
            if self.local_image_encoder is not None:
                self.local_image_encoder.save_pretrained(fresh / "local_image_encoder")

    def unload_relation_adapter(self) -> None:
        """Remove adapter and encoders; the UNet's processors are the stock ones again."""
        self._register_relation_components(
            {"relation_adapter": None, "image_prompt_encoder": None, "local_image_encoder": None}
        )

    def enable_parallel_attention(self) -> None:
        """Install our attention processors again, after something else replaced them."""
        install_parallel_attention(self.unet)

    def set_image_prompt_scale(self, scale: float | list[float]) -> None:
        """γ used when a call gives none: one number, or one per object."""
        self._image_prompt_scale = scale

    def check_adapter(self) -> None:
        """Raise a ValueError unless an adapter is loaded."""
        if self.relation_adapter is None:
            raise ValueError(
                "`image_prompts` need an adapter, and none is loaded. Call "
                "`pipe.load_relation_adapter(repository_or_folder)` first."
            )

    def _register_relation_components(self, components: dict) -> None:
        # Offloading hooks are set per component, so they are taken off and put on again around the change.
        model_offload, sequential_offload, _ = self._optionally_disable_offloading(self)
        for component in components.values():
            if component is None:
                continue
            if component.dtype != self.unet.dtype:
                component.to(self.unet.dtype)
            if not (model_offload or sequential_offload):
                component.to(self.unet.device)
            component.eval()
        self.register_modules(**components)
        if components["relation_adapter"] is None:
            remove_parallel_attention(self.unet)
        else:
            install_parallel_attention(self.unet)
        if model_offload:
            self.enable_model_cpu_offload(device=self._offload_device)
        elif sequential_offload:
            self.enable_sequential_cpu_offload(device=self._offload_device)


def load_model(model_class: type, source, **options) -> torch.nn.Module:
    """`source` itself when it is a model, else `model_class.from_pretrained`, strict: no weight missing, misshapen or
    not finite. A full CLIP repository is fine for a vision model: its text tower is passed over."""
    if isinstance(source, torch.nn.Module):
        return source
    if source is None:
        raise ValueError(f"a {model_class.__name__} is needed, got None. Pass a model, a folder or a Hub repository.")
    try:
        model, report = model_class.from_pretrained(source, output_loading_info=True, use_safetensors=True, **options)
    except Exception as error:  # each of the four libraries below raises its own kinds; the cause is kept
        raise ValueError(f"no {model_class.__name__} could be loaded from `{source}`: {error}") from error
    faults = [*report["missing_keys"], *report["mismatched_keys"]]
    if model_class is RelationAdapter:
        faults += report["unexpected_keys"]
    if faults:
        raise ValueError(
            f"the weights in `{source}` do not fit its config: {len(faults)} keys are missing, unexpected or misshapen "
            f"(first: {sorted(map(str, faults))[:2]}). Download it again."
        )
    check_finite(dict(model.named_parameters()), f"`{source}`")
    return model


def check_widths(adapter: RelationAdapter, image_encoder, local_image_encoder) -> None:
    """Raise a ValueError when an encoder's width is not what the adapter reads."""
    resampler = adapter.resampler
    for name, encoder, expected in (
        ("image_encoder", image_encoder, resampler.config.embedding_dim),
        ("local_image_encoder", local_image_encoder, resampler.local_width),
    ):
        if encoder is not None and encoder.config.hidden_size != expected:
            raise ValueError(
                f"`{name}` must have width {expected} for this adapter, got {encoder.config.hidden_size}. Use the "
                "encoder that the adapter was trained with (MS-Diffusion's: CLIP ViT-bigG/14, width 1664)."
            )
    if local_image_encoder is not None:
        patch, side = local_image_encoder.config.patch_size, adapter.config.local_image_size
        if side % patch or side // patch < adapter.config.local_grid:
            raise ValueError(
                f"the adapter's `local_image_size` {side} must be a multiple of the local encoder's patch size {patch} "
                f"and give at least {adapter.config.local_grid} patches a side."
            )


def _encoder_source(name: str, folder: Path | None, repository: str | None):
    """Inside the adapter's folder, beside it in a saved pipeline, or the repository that its config names."""
    if folder is not None:
        beside = folder.parent / ENCODER_SLOTS[name]
        if (folder / name).is_dir():
            return folder / name
        if (folder.parent / "model_index.json").is_file() and beside.is_dir():
            return beside
    if repository:
        return repository
    off = " (or None to do without local tokens)" if name == "local_image_encoder" else ""
    raise ValueError(f"the adapter brings no `{name}` and names none. Pass `{name}=` a folder or Hub repository{off}.")


def _find_folder(source, subfolder: str | None, hub: dict) -> Path:
    if Path(source).is_dir():
        folder = Path(source) / (subfolder or "")
    else:
        prefix = f"{subfolder}/" if subfolder else ""
        above = prefix.removesuffix("/").rpartition("/")[0]
        folders = [prefix, *(f"{above}/{slot}/".removeprefix("/") for slot in ENCODER_SLOTS.values())]
        patterns = [f"{name}{ending}" for name in folders for ending in ("*.json", "*.safetensors")]
        patterns.append(f"{above}/model_index.json".removeprefix("/"))
        folder = fetched(snapshot_download, source, allow_patterns=patterns, **hub) / (subfolder or "")
    if not _is_adapter_folder(folder):
        raise ValueError(
            f"`{folder}` is no relation adapter (its config.json names no RelationAdapter). For MS-Diffusion's file "
            "name it: `weight_name='ms_adapter.bin'`."
        )
    return folder


def _is_adapter_entry(path: Path) -> bool:
    """Whether `save_relation_adapter` writes something of this name."""
    names = ("config.json", "README.md", *ENCODER_SLOTS)
    return path.name in names or path.name.startswith("diffusion_pytorch_model")


def _is_adapter_folder(folder: Path) -> bool:
    config = folder / "config.json"
    return config.is_file() and RelationAdapter.__name__ in config.read_text()
