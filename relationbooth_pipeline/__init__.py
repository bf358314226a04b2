"""RelationBooth for Diffusers: own characters that do something together, on SDXL."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import RelationBoothPipeline
    from .relation_adapter import RelationAdapter
    from .relation_attention import ParallelAttnProcessor
    from .relation_conversion import adapter_from_released, local_encoder_from_open_clip
    from .relation_image_encoder import LocalImageEncoder
    from .relation_inputs import EncodedImagePrompts
    from .relation_regions import RelationMetadata, read_relation_metadata, write_relation_metadata
    from .relation_resampler import LocalTokenResampler

__version__ = "0.1.0"
__all__ = [
    "EncodedImagePrompts",
    "LocalImageEncoder",
    "LocalTokenResampler",
    "ParallelAttnProcessor",
    "RelationAdapter",
    "RelationBoothPipeline",
    "RelationMetadata",
    "adapter_from_released",
    "local_encoder_from_open_clip",
    "read_relation_metadata",
    "write_relation_metadata",
]
# torch and diffusers take seconds to import: a name brings its module when it is first asked for (PEP 562).
_MODULES = {
    "EncodedImagePrompts": "relation_inputs",
    "LocalImageEncoder": "relation_image_encoder",
    "LocalTokenResampler": "relation_resampler",
    "ParallelAttnProcessor": "relation_attention",
    "RelationAdapter": "relation_adapter",
    "RelationBoothPipeline": "pipeline",
    "RelationMetadata": "relation_regions",
    "adapter_from_released": "relation_conversion",
    "local_encoder_from_open_clip": "relation_conversion",
    "read_relation_metadata": "relation_regions",
    "write_relation_metadata": "relation_regions",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
