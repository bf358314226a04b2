"""RelationBooth for Diffusers: own characters that do something together, on SDXL."""

from .pipeline import RelationBoothPipeline
from .relation_adapter import RelationAdapter
from .relation_attention import ParallelAttnProcessor
from .relation_conversion import adapter_from_released, local_encoder_from_open_clip
from .relation_image_encoder import LocalImageEncoder
from .relation_inputs import EncodedImagePrompts
from .relation_lora import RelationMetadata, read_relation_metadata, write_relation_metadata
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
