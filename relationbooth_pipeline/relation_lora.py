"""RelationLoRAs in a pipeline: loaded with their headers, and what of them is in force."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from diffusers.utils import recurse_remove_peft_layers
from peft.tuners.tuners_utils import BaseTunerLayer

from .relation_files import HUB_ARGUMENTS, LORA_WEIGHT_NAME, find_lora_file, is_pickle
from .relation_regions import RelationMetadata, read_relation_metadata, write_relation_metadata  # noqa: F401

WEIGHT_NAME = LORA_WEIGHT_NAME  # with the two functions above, what others have imported from here

# Matrix of a LoRA → what its layer's side is called in linear and in convolutional layers, what it does, which axis
_SIDES = {
    **dict.fromkeys(("_A.weight", ".down.weight"), ("in_features", "in_channels", "reads", 1)),
    **dict.fromkeys(("_B.weight", ".up.weight"), ("out_features", "out_channels", "gives", 0)),
}


def check_lora_fits(state: dict[str, torch.Tensor], unet: torch.nn.Module) -> None:
    """Raise a ValueError when a UNet LoRA names a layer that `unet` lacks, or has another width than it.

    Args:
        state: matrices by diffusers' names, `unet.<layer>.lora_A.weight` or `unet.<layer>.lora.down.weight`.
    """
    modules = dict(_unwrapped(unet).named_modules())
    for key, tensor in state.items():
        path, _, matrix = key.removeprefix("unet.").rpartition(".lora")
        if not key.startswith("unet.") or matrix not in _SIDES:
            continue
        linear, convolutional, does, axis = _SIDES[matrix]
        layer = modules.get(path.removesuffix(".processor"))
        width = getattr(layer, linear, getattr(layer, convolutional, None))
        if layer is None or (width is not None and width != tensor.shape[axis]):
            found = "does not exist" if layer is None else f"{does} {width} channels"
            raise ValueError(
                f"this LoRA does not fit the UNet: `{path}` {found}, the LoRA was made for {tensor.shape[axis]} "
                "channels. Use a LoRA that was trained on the same kind of base (SDXL LoRAs do not fit SD 1.5, nor the "
                "reverse)."
            )


class RelationLoraMixin(StableDiffusionXLLoraLoaderMixin):
    """LoRA loading that also reads RelationLoRA headers: from the very file that is loaded, before its weights go in.

    What headers tell is kept on the UNet, as PEFT keeps its own record: every pipeline that shares the UNet reads it.
    """

    _call_lora_scale = 1.0  # of the call that `scaled_loras` surrounds

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | Path | dict[str, torch.Tensor],
        adapter_name: str | None = None,
        **kwargs,
    ) -> None:
        """As in diffusers. Pickles are read only when `weight_name` names one.

        Args:
            pretrained_model_name_or_path_or_dict: file, folder, Hub repository (`find_lora_file`), or tensors.
            adapter_name: for `set_adapters`. kwargs: `weight_name`, `subfolder`, … of diffusers.
        Raises:
            ValueError: no such file, a damaged file or header, or a LoRA of another base. The pipeline is then as it
                was; so it is after any other error of diffusers and PEFT.
        """
        source, metadata = pretrained_model_name_or_path_or_dict, None
        if not isinstance(source, dict):
            hub = {key: kwargs.pop(key) for key in HUB_ARGUMENTS if key in kwargs}
            file = find_lora_file(source, kwargs.pop("weight_name", None), kwargs.pop("subfolder", None), hub)
            metadata = None if is_pickle(file) else read_relation_metadata(file)
            kwargs |= {"use_safetensors": not is_pickle(file), "weight_name": file.name if is_pickle(file) else None}
            source = str(file)
        before = [
            (part, _names(part), [(layer, layer.active_adapters) for layer in _layers(part)])
            for part in self._lora_parts()
        ]
        hooks = [getattr(part, "_hf_hook", None) for part in self.components.values()]
        kinds = {type(getattr(hook, "hooks", [hook])[0]).__name__ for hook in hooks}  # accelerate is not asked for
        try:
            super().load_lora_weights(source, adapter_name=adapter_name, **kwargs)
        except Exception:  # diffusers, PEFT and safetensors raise a dozen kinds; raised again below
            for part, names, active in before:
                _remove_all_but(part, names)
                for layer, active_names in active:
                    layer.set_adapter(active_names)
            if "CpuOffload" in kinds:  # diffusers takes the hooks off while it loads
                self.enable_model_cpu_offload(device=self._offload_device)
            elif "AlignDevicesHook" in kinds:
                self.enable_sequential_cpu_offload(device=self._offload_device)
            raise
        known = {name for _, names, _ in before for name in names}
        for name in self._lora_names() - known or {adapter_name}:
            self._relations.headers.pop(name, None)
            if metadata is not None:
                self._relations.headers[name] = metadata

    @classmethod
    def load_lora_into_unet(
        cls, state_dict: dict[str, torch.Tensor], network_alphas: dict | None, unet: torch.nn.Module, *args, **kwargs
    ) -> None:
        """As in diffusers, after `check_lora_fits`."""
        check_lora_fits(state_dict, unet)
        super().load_lora_into_unet(state_dict, network_alphas, unet, *args, **kwargs)

    def fuse_lora(self, *args, **kwargs) -> None:
        """As in diffusers. A fused RelationLoRA acts with the weight that it was fused with, whatever comes later."""
        fused = {name for name, _, is_fused in self._acting() if is_fused}
        super().fuse_lora(*args, **kwargs)
        for name, weight, is_fused in self._acting():
            if is_fused and name not in fused:
                self._relations.fused[name] = weight

    def unload_lora_weights(self) -> None:
        """As in diffusers: what is fused stays in the weights, for good, and so does its layout prior."""
        self._keep_fused(self._lora_names())
        super().unload_lora_weights()

    def delete_adapters(self, adapter_names: str | list[str]) -> None:
        """As in diffusers: what is fused stays in the weights, for good, and so does its layout prior."""
        self._keep_fused({adapter_names} if isinstance(adapter_names, str) else set(adapter_names))
        super().delete_adapters(adapter_names)

    @contextlib.contextmanager
    def scaled_loras(self, scale: float | None) -> Iterator[None]:
        """Inside, `image_prompt_kwargs` and `encode_image_prompts` answer for a call with `cross_attention_kwargs=
        {"scale": scale}`: phrases are encoded as the prompt will be, and a layout prior counts as much as its LoRA.

        `__call__` and `draw_through` do so themselves; else write
        `with pipe.scaled_loras(s): kwargs = {**pipe.image_prompt_kwargs(…), "scale": s}`.
        """
        scale = 1.0 if scale is None else scale
        layers = [] if self.text_encoder is None else list(_layers(self.text_encoder))
        before, outer = [dict(layer.scaling) for layer in layers], vars(self).get("_call_lora_scale")
        self._call_lora_scale = scale
        try:
            for layer in layers:
                layer.scale_layer(scale)
            yield
        finally:
            del self._call_lora_scale  # nothing of a call stays
            if outer is not None:
                self._call_lora_scale = outer
            for layer, scaling in zip(layers, before):
                layer.scaling.update(scaling)

    @property
    def relation_metadata(self) -> dict[str, RelationMetadata]:
        """Header of every loaded RelationLoRA by adapter name."""
        return {name: data for name, data in self._relations.headers.items() if name in self._lora_names()}

    def heaviest_relation(self) -> RelationMetadata | None:
        """Header of the RelationLoRA with the largest weight in force; the first of equals.

        In force is what changes the picture now: active and enabled with a weight above 0, or fused.
        """
        weights: dict[str, float] = {}
        for name, weight, is_fused in self._acting():
            weight = self._relations.fused.get(name, weight) if is_fused else weight * self._call_lora_scale
            weights[name] = max(weight, weights.get(name, weight))
        loaded = [(data, weights[name]) for name, data in self._relations.headers.items() if name in weights]
        acting = [pair for pair in [*self._relations.kept, *loaded] if pair[1] > 0]
        return max(acting, key=lambda pair: pair[1])[0] if acting else None

    @property
    def _relations(self) -> "_Relations":
        unet = _unwrapped(self.unet)
        return _Relations() if unet is None else vars(unet).setdefault("_relations", _Relations())

    def _acting(self) -> Iterator[tuple[str, float, bool]]:
        """(adapter name, weight, whether fused) of each LoRA that acts, for every layer of the UNet.

        The weight is read from the layers: `set_adapters` keeps it nowhere else.
        """
        for layer in _layers(_unwrapped(self.unet)):
            fused = layer.merged_adapters
            for name in () if layer.disable_adapters else fused or layer.active_adapters:
                if name in layer.scaling and (whole := _scaling_at_weight_1(layer, name)):
                    yield name, float(layer.scaling[name]) / whole, bool(fused)

    def _keep_fused(self, names: set[str]) -> None:
        relations, fused = self._relations, {name: weight for name, weight, is_fused in self._acting() if is_fused}
        for name in [name for name in relations.headers if name in names]:
            data = relations.headers.pop(name)
            if name in fused:
                relations.kept.append((data, relations.fused.pop(name, fused[name])))

    def _lora_parts(self) -> list[torch.nn.Module]:
        parts = (_unwrapped(getattr(self, name, None)) for name in self._lora_loadable_modules)
        return [part for part in parts if part is not None]

    def _lora_names(self) -> set[str]:
        return {name for part in self._lora_parts() for name in _names(part)}


@dataclass
class _Relations:
    """What is known of the RelationLoRAs in a UNet.

    Attributes:
        headers: by adapter name. fused: weight of each at the moment it was fused.
        kept: header and weight of those that were fused and then unloaded: no one can take them out again.
    """

    headers: dict[str, RelationMetadata] = field(default_factory=dict)
    fused: dict[str, float] = field(default_factory=dict)
    kept: list[tuple[RelationMetadata, float]] = field(default_factory=list)


def _unwrapped(model):
    return getattr(model, "_orig_mod", model)  # of torch.compile


def _names(part: torch.nn.Module) -> set[str]:
    return set(getattr(part, "peft_config", None) or ())


def _layers(part: torch.nn.Module | None) -> Iterator[BaseTunerLayer]:
    for module in () if part is None else part.modules():
        if isinstance(module, BaseTunerLayer) and hasattr(module, "scaling"):
            yield module


def _scaling_at_weight_1(layer: BaseTunerLayer, name: str) -> float:
    """alpha/r, or alpha/√r of a rank-stabilised LoRA; 0 for one that cannot act."""
    rank = layer.r[name]
    return layer.lora_alpha[name] / (math.sqrt(rank) if layer.use_rslora.get(name) else rank)


def _remove_all_but(part: torch.nn.Module, names: set[str]) -> None:
    """Remove LoRAs, half loaded ones too; without any left the layers are plain again."""
    if not names:
        recurse_remove_peft_layers(part)
        if hasattr(part, "peft_config"):
            del part.peft_config
            part._hf_peft_config_loaded = None
    for layer in _layers(part):
        for name in set(layer.scaling) - names:
            layer.delete_adapter(name)
    for name in _names(part) - names:
        del part.peft_config[name]
