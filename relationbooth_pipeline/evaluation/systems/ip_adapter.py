"""diffusers' IP-Adapter with one masked image for each object: the closest that plain diffusers offers."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from ...digests import named_source
from ...relation_layouts import side_by_side
from ..cases import Case, CaseFile
from .loaded import LoadedPipeline
from .system import OneByOne, Order

REPOSITORY = "h94/IP-Adapter"
WEIGHTS = "sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors"
IMAGE_ENCODER = "models/image_encoder"  # CLIP ViT-H/14, which the Plus weights were trained with


class IPAdapter(OneByOne):
    """Each photo acts within its object's box; one adapter, one scale.

    Args:
        loaded: a pipeline without our adapter, which no other system shares: its attention processors are replaced.
        source: repository or folder. weights: file in it. image_encoder: folder in it.
        scale: of every image.
    """

    def __init__(
        self,
        name: str,
        loaded: LoadedPipeline,
        source: str = REPOSITORY,
        weights: str = WEIGHTS,
        image_encoder: str = IMAGE_ENCODER,
        scale: float = 0.6,
    ):
        super().__init__(name)
        self.loaded, self.source, self.weights = loaded, source, weights
        self.image_encoder, self.scale = image_encoder, scale

    def prepare(self, cases: CaseFile, root: Path) -> None:
        if Path(self.source).is_dir() and not (Path(self.source) / self.weights).is_file():
            raise ValueError(f"the system {self.name!r}: no IP-Adapter file `{Path(self.source) / self.weights}`.")

    def settings(self, case: Case) -> dict:
        described = {k: v for k, v in self.loaded.described().items() if k != "adapter"}
        folder, own = Path(self.source), {"weights": self.weights, "image_encoder": self.image_encoder}
        if folder.is_dir():
            own = {name: named_source(folder / place) for name, place in own.items()}
        own["source"] = folder.resolve().name if folder.is_dir() else self.source
        return {"method": "ip-adapter", **described, **own, "ip_adapter_scale": self.scale}

    def load(self) -> None:
        pipe, (folder, _, file) = self.loaded.pipe, self.weights.rpartition("/")
        pipe.load_ip_adapter(self.source, subfolder=folder, weight_name=file, image_encoder_folder=self.image_encoder)

    def draw_one(self, order: Order) -> list[Image.Image]:
        from diffusers.image_processor import IPAdapterMaskProcessor

        pipe, settings, photos = self.loaded.pipe, self.loaded.settings, list(order.photos)
        side = pipe.default_sample_size * pipe.vae_scale_factor
        height, width = settings.height or side, settings.width or side
        masks = [box_mask(box, height, width) for box in order.case.boxes or side_by_side(len(photos))]
        tensor = IPAdapterMaskProcessor().preprocess(masks, height=height, width=width)
        pipe.set_ip_adapter_scale([[self.scale] * len(photos)])
        (pictures,) = self.loaded.call(
            [order.case.prompt],
            [order.seeds],
            ip_adapter_image=[photos],
            cross_attention_kwargs={"ip_adapter_masks": [tensor.reshape(1, len(photos), height, width)]},
        )
        return pictures


def box_mask(box: Sequence[float], height: int, width: int) -> Image.Image:
    """White inside the box, black outside."""
    mask = Image.new("L", (width, height))
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(box, (width, height) * 2))
    ImageDraw.Draw(mask).rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=255)
    return mask
