"""Load, save, scale and unload the adapter: everything is read and checked before anything of the pipeline changes."""

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from diffusers.hooks import apply_group_offloading
from transformers import CLIPVisionModelWithProjection

from .relation_adapter import RelationAdapter
from .relation_attention import install_parallel_attention, remove_parallel_attention
from .relation_conversion import adapter_from_released, load_model, own_entries
from .relation_files import HUB_ARGUMENTS, find_file, read_checkpoint, whole_file, whole_folder
from .relation_image_encoder import (
    ENCODER_SLOTS,
    NO_ENCODER,
    LocalImageEncoder,
    encoder_source,
    find_adapter_folder,
    is_adapter_folder,
)  # fmt: skip
from .relation_inputs import own_scale

DEFAULT_SCALE = 0.6  # γ at inference and in RelationLoRA training (RelationBooth, 4.1)
OWN_SLOTS = ("relation_adapter", *ENCODER_SLOTS.values())  # components that plain SDXL does not have
_ADAPTER_FILES = ("config.json", "README.md", *ENCODER_SLOTS)  # and its weights: what may be replaced
# In a saved pipeline's `model_index.json`. Classes that do not know our components warn of them and of this.
LOAD_WITH = ("load_with", "relationbooth_pipeline.RelationBoothPipeline.from_pretrained")


class RelationAdapterLoaderMixin:
    """`load_relation_adapter`, `save_relation_adapter`, `set_image_prompt_scale`, `unload_relation_adapter`, and the
    doors of diffusers that the adapter goes through: `from_pretrained`, `from_pipe`, `components`.
    """

    _group_offload: dict | None = None  # what `enable_group_offload` was called with

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> DiffusionPipeline:
        """As in diffusers. A local folder that holds `relation_adapter/` beside the components, without listing it in
        `model_index.json`, brings that adapter, too, unless `relation_adapter=` is passed (None: without one)."""
        pipe = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        folder = Path(pretrained_model_name_or_path) / "relation_adapter"
        wanted = isinstance(pipe, cls) and pipe.unet is not None and pipe.relation_adapter is None
        if wanted and "relation_adapter" not in kwargs and is_adapter_folder(folder):
            given = {name: kwargs[slot] for name, slot in ENCODER_SLOTS.items() if slot in kwargs}
            pipe.load_relation_adapter(folder, **given)
        return pipe

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> DiffusionPipeline:
        """As in diffusers, but the weights keep their dtype: the default would cast the shared ones to float32. γ of
        `set_image_prompt_scale` comes along; so do LoRAs and their layout priors, as part of the UNet."""
        if "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", pipeline.unet.dtype)
        pipe = super().from_pipe(pipeline, **kwargs)
        pipe._image_prompt_scale = getattr(pipeline, "_image_prompt_scale", DEFAULT_SCALE)
        return pipe

    @property
    def components(self) -> dict:
        """As in diffusers, without our slots while they are empty."""
        return {name: part for name, part in super().components.items() if part is not None or name not in OWN_SLOTS}

    @property
    def sdxl_components(self) -> dict:
        """What plain SDXL pipelines take: `StableDiffusionXLImg2ImgPipeline(**pipe.sdxl_components)`. Weights are
        shared; `draw_through` draws with image prompts there."""
        return {name: part for name, part in self.components.items() if part is not None and name not in OWN_SLOTS}

    def to_json_file(self, json_file_path: str | Path) -> None:
        """`model_index.json` of a saved pipeline. To all that do not know this class it is a plain SDXL pipeline:
        `DiffusionPipeline.from_pretrained` gives that, with a warning that names what is left out and what to call."""
        index = json.loads(self.to_json_string())
        index |= {"_class_name": StableDiffusionXLPipeline.__name__, LOAD_WITH[0]: LOAD_WITH[1]}
        index.pop("_name_or_path", None)  # of this machine
        with whole_file(json_file_path) as fresh:
            fresh.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def _dict_from_json_file(cls, json_file: str | Path) -> dict:
        """Where a repository or folder brings a copy of our code, the installed one loads it, which needs no trust."""
        config = super()._dict_from_json_file(json_file)
        if isinstance(config.get("_class_name"), list) and config["_class_name"][-1] == cls.__name__:
            config["_class_name"] = cls.__name__
        return config | own_entries(config)

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> dict | tuple:
        """As in diffusers, without our hint to other classes."""
        found = super().load_config(*args, **kwargs)
        config = found[0] if isinstance(found, tuple) else found
        config.pop(LOAD_WITH[0], None)
        config |= own_entries(config, installed=True)
        return found

    def load_relation_adapter(
        self,
        pretrained_model_name_or_path: str | Path,
        weight_name: str | None = None,
        subfolder: str | None = None,
        image_encoder: torch.nn.Module | str | Path = "auto",
        local_image_encoder: torch.nn.Module | str | Path | None = "auto",
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
            revision (the adapter's), cache_dir, token, local_files_only, force_download: as in diffusers.
        Raises:
            ValueError: a file is missing or damaged, weights do not fit the config, the adapter does not fit the UNet,
                or an encoder has another width than the adapter reads. The pipeline is then as it was.
        """
        if unknown := set(kwargs) - set(HUB_ARGUMENTS):
            raise ValueError(f"`load_relation_adapter` knows {', '.join(HUB_ARGUMENTS)}, not {sorted(unknown)}.")
        if weight_name is not None:
            folder = None
            file = find_file(pretrained_model_name_or_path, weight_name, subfolder, kwargs)
            adapter = adapter_from_released(read_checkpoint(file), self.unet, source=f"`{file.name}`")
        else:
            folder = find_adapter_folder(pretrained_model_name_or_path, subfolder, kwargs)
            adapter = load_model(RelationAdapter, folder, dtype=self.unet.dtype)
            adapter.check_fits(self.unet)

        config, shared = adapter.config, {name: value for name, value in kwargs.items() if name != "revision"}
        if image_encoder == "auto":
            image_encoder = encoder_source("image_encoder", folder, config.image_encoder)
        image_encoder = load_model(CLIPVisionModelWithProjection, image_encoder, dtype=self.unet.dtype, **shared)
        if local_image_encoder == "auto":
            local_image_encoder = None
            if config.local_grid:
                local_image_encoder = encoder_source("local_image_encoder", folder, config.local_image_encoder)
        if local_image_encoder is not None:
            if not config.local_grid:
                raise ValueError("this adapter was trained without local tokens: pass `local_image_encoder=None`.")
            local_image_encoder = load_model(LocalImageEncoder, local_image_encoder, dtype=self.unet.dtype, **shared)
        adapter.check_encoders(image_encoder, local_image_encoder)

        self._register_relation_components(dict(zip(OWN_SLOTS, (adapter, image_encoder, local_image_encoder))))

    def save_relation_adapter(self, save_directory: str | Path) -> None:
        """Write adapter and encoders to a folder that `load_relation_adapter` reads; whole or not at all.

        Raises:
            ValueError: no adapter is loaded or it has no encoder, `save_directory` is a file, or holds something else.
        """
        self.check_adapter()
        target = Path(save_directory)
        if target.is_dir() and any(target.iterdir()):
            names = {entry.name for entry in target.iterdir()} - set(_ADAPTER_FILES)
            others = sorted(name for name in names if not name.startswith("diffusion_pytorch_model"))
            if others or not is_adapter_folder(target):
                raise ValueError(
                    f"`{target}` holds something other than a relation adapter ({', '.join(others[:3])}). Choose a new "
                    "or empty folder."
                )
        if self.image_prompt_encoder is None:
            raise ValueError(
                "the adapter's `image_prompt_encoder` is missing, and the folder would not load without it. Load the "
                "adapter with its encoders again."
            )
        if self.local_image_encoder is None and self.relation_adapter.config.local_grid:
            self.relation_adapter.register_to_config(local_image_encoder=NO_ENCODER)
        with whole_folder(target, replace=True) as fresh:
            self.relation_adapter.save_pretrained(fresh)
            self.image_prompt_encoder.save_pretrained(fresh / "image_encoder")
            if self.local_image_encoder is not None:
                self.local_image_encoder.save_pretrained(fresh / "local_image_encoder")

    def unload_relation_adapter(self) -> None:
        """Remove adapter and encoders; the UNet's processors are the stock ones again."""
        self._register_relation_components(dict.fromkeys(OWN_SLOTS))

    def unload_ip_adapter(self) -> None:
        """As in diffusers; image prompts then work again."""
        super().unload_ip_adapter()
        if self.relation_adapter is not None:
            self.enable_parallel_attention()

    def enable_group_offload(self, *given: Any, **options: Any) -> None:
        """As in diffusers; an adapter that is loaded later gets the same hooks."""
        super().enable_group_offload(*given, **options)
        self._group_offload = inspect.signature(super().enable_group_offload).bind(*given, **options).arguments

    def enable_parallel_attention(self) -> None:
        """Install our attention processors again, after something else replaced them."""
        install_parallel_attention(self.unet)

    def set_attention_slice(self, slice_size: str | int | None) -> None:
        """As in diffusers, for self-attention; text cross-attention, a small part of the memory, stays whole."""
        super().set_attention_slice(slice_size)
        if self.relation_adapter is not None:
            install_parallel_attention(self.unet)

    def fuse_qkv_projections(self, unet: bool = True, vae: bool = True) -> None:
        """As in diffusers; image prompts are read beside the fused text."""
        super().fuse_qkv_projections(unet=unet, vae=vae)
        if unet and self.relation_adapter is not None:
            install_parallel_attention(self.unet)

    def set_image_prompt_scale(self, scale: float | list[float]) -> None:
        """γ used when a call gives none: one number, or one per object; a ValueError for anything else."""
        self._image_prompt_scale = own_scale(scale)

    def check_adapter(self) -> None:
        """Raise a ValueError unless an adapter is loaded."""
        if self.relation_adapter is None:
            told = "Call `pipe.load_relation_adapter(repository_or_folder)` first."
            raise ValueError(f"`image_prompts` need an adapter, and none is loaded. {told}")

    def _register_relation_components(self, components: dict) -> None:
        # Offloading hooks are set per component, so they are taken off and put on again around the change.
        model_offload, sequential_offload, group_offload = self._optionally_disable_offloading(self)
        for name, component in ((n, c) for n, c in components.items() if c is not None):
            if component.dtype != self.unet.dtype:
                component.to(self.unet.dtype)
            if group_offload:
                self._add_group_offload(name, component)
            elif not (model_offload or sequential_offload):
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

    def _add_group_offload(self, name: str, component: torch.nn.Module) -> None:
        options = dict(self._group_offload or {})
        excluded = options.pop("exclude_modules", None) or []
        if not options or name in ([excluded] if isinstance(excluded, str) else excluded):
            component.to(self._execution_device)  # only single components were offloaded, and not this one
        elif not hasattr(component, "_diffusers_hook"):
            getattr(component, "enable_group_offload", lambda **o: apply_group_offloading(component, **o))(**options)
