"""RelationLoRA files: an ordinary SDXL LoRA whose header also tells the relation, its template and its layout."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from diffusers.utils import _get_model_file
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from .relation_files import PICKLE_SUFFIXES, whole_file
from .relation_regions import check_box

HEADER_KEY = "relationbooth"  # one JSON document in the safetensors header: other tools keep or ignore it whole
WEIGHT_NAME = "pytorch_lora_weights.safetensors"


@dataclass
class RelationMetadata:
    """What a RelationLoRA's header tells.

    Attributes:
        relation: short name, e.g. "hug".
        predicate: words of the prompt that carry the relation, e.g. "is hugging".
        template: prompt with {0}, {1}, … for the phrases, e.g. "A {0} is hugging a {1}".
        scale: suggested LoRA weight.
        layout_prior: mean box of each role, XYXY in [0, 1]; None when unknown.
    """

    relation: str
    predicate: str
    template: str
    scale: float = 1.0
    layout_prior: list[list[float]] | None = None

    def __post_init__(self):
        for box in self.layout_prior or []:
            check_box(box)


def read_relation_metadata(path: str | Path) -> RelationMetadata | None:
    """Header of a LoRA file; None when it is not one of ours.

    Raises:
        ValueError: the file is damaged, or our entry of the header is.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"`{path}` is no intact safetensors file ({error}). Download it again.") from error
    if HEADER_KEY not in header:
        return None
    try:
        return RelationMetadata(**json.loads(header[HEADER_KEY]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{path}` has a damaged `{HEADER_KEY}` header ({error}). Download it again.") from error


def write_relation_metadata(path: str | Path, metadata: RelationMetadata) -> None:
    """Add our entry to a LoRA file's header, atomically; tensors and other entries (PEFT's alpha) stay."""
    with safe_open(path, "pt") as file:
        header = dict(file.metadata() or {})
    header[HEADER_KEY] = json.dumps(asdict(metadata))
    tensors = load_file(path)
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def check_lora_fits(state: dict, unet) -> None:
    """Raise a ValueError when a UNet LoRA names a layer that `unet` lacks, or has another input width than it."""
    unet = getattr(unet, "_orig_mod", unet)
    modules = dict(unet.named_modules())
    for key, tensor in state.items():
        path, _, matrix = key.removeprefix("unet.").rpartition(".lora")
        if not key.startswith("unet.") or matrix not in ("_A.weight", ".down.weight"):
            continue
        layer = modules.get(path.removesuffix(".processor"))
        width = getattr(layer, "in_features", getattr(layer, "in_channels", None))
        if layer is None or (width is not None and width != tensor.shape[1]):
            found = "does not exist" if layer is None else f"reads {width} channels"
            raise ValueError(
                f"this LoRA does not fit the UNet: `{path}` {found}, the LoRA was made for {tensor.shape[1]} channels. "
                "Use a LoRA that was trained on the same kind of base (SDXL LoRAs do not fit SD 1.5, nor the reverse)."
            )


class RelationLoraMixin(StableDiffusionXLLoraLoaderMixin):
    """`load_lora_weights` that also reads RelationLoRA headers and refuses a LoRA of another base before it acts."""

    def load_lora_weights(self, pretrained_model_name_or_path_or_dict, adapter_name=None, **kwargs):
        """As in diffusers. Pickles are read only when `weight_name` names one."""
        if not str(kwargs.get("weight_name") or "").endswith(PICKLE_SUFFIXES):
            kwargs.setdefault("use_safetensors", True)
        before = self._lora_names()
        super().load_lora_weights(pretrained_model_name_or_path_or_dict, adapter_name=adapter_name, **kwargs)
        metadata = None
        if not isinstance(pretrained_model_name_or_path_or_dict, dict):
            metadata = self._header_of(pretrained_model_name_or_path_or_dict, kwargs)
        for name in self._lora_names() - before or {adapter_name}:
            self._relation_metadata[name] = metadata

    @classmethod
    def load_lora_into_unet(cls, state_dict, network_alphas, unet, *args, **kwargs):
        check_lora_fits(state_dict, unet)
        return super().load_lora_into_unet(state_dict, network_alphas, unet, *args, **kwargs)

    @property
    def relation_metadata(self) -> dict[str, RelationMetadata]:
        """Header of every loaded RelationLoRA by adapter name."""
        return {name: data for name, data in self._relation_metadata.items() if data and name in self._lora_names()}

    def heaviest_relation(self) -> RelationMetadata | None:
        """Header of the active RelationLoRA with the largest weight; the first of equals."""
        weights = self._lora_weights()
        active = {name: data for name, data in self.relation_metadata.items() if name in weights}
        return active[max(active, key=weights.get)] if active else None

    def _lora_names(self) -> set[str]:
        return {name for names in self.get_list_adapters().values() for name in names}

    def _lora_weights(self) -> dict[str, float]:
        """Weight of each active adapter, read from the UNet's layers: `set_adapters` keeps it nowhere else."""
        unet = getattr(self.unet, "_orig_mod", self.unet)
        weights: dict[str, float] = {}
        for module in unet.modules():
            for name in getattr(module, "active_adapters", ()) if hasattr(module, "scaling") else ():
                if name in module.scaling:
                    weight = module.scaling[name] * module.r[name] / module.lora_alpha[name]
                    weights[name] = max(weight, weights.get(name, weight))
        return weights

    def _header_of(self, source, kwargs: dict) -> RelationMetadata | None:
        if str(kwargs.get("weight_name") or "").endswith(PICKLE_SUFFIXES):
            return None
        path = Path(source)
        if path.is_file():
            return read_relation_metadata(path)
        name = kwargs.get("weight_name")
        if name is None and path.is_dir():
            found = sorted(path.glob("*.safetensors"))
            name = WEIGHT_NAME if path / WEIGHT_NAME in found or not found else found[0].name
        hub = {k: kwargs[k] for k in ("cache_dir", "revision", "subfolder", "token", "local_files_only") if k in kwargs}
        return read_relation_metadata(_get_model_file(source, weights_name=name or WEIGHT_NAME, **hub))
