"""Models that metrics read pictures with: CLIP and DINO by name, or the miniature's own towers in their places."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from PIL import Image

from ..miniature.towers import MiniatureTowers, towers_checkpoint
from .checkpoints import check_kind, checkpoint_name, checkpoint_of

CLIP, DINO = "openai/clip-vit-base-patch32", "facebook/dino-vits16"
MINIATURE = "miniature"
VIEWS = ", views"  # of the miniature's picture tower: its second reading
# DINO's own evaluation: short side 256 bicubic, centre 224, ImageNet's statistics (custom-diffusion evaluates alike)
DINO_RESIZE, DINO_CROP = 256, 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pooled(output: Any) -> torch.Tensor:
    """Projected features of a CLIP call: transformers 5 gives an object that holds them, 4 gave them bare."""
    return getattr(output, "pooler_output", output)


class Tower(Protocol):
    """A model that turns pictures, and perhaps texts, into vectors.

    Attributes:
        checkpoint: which weights, with their revision or digest. preprocessing: what happens to a picture before.
    """

    checkpoint: str
    preprocessing: str

    def image_features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(B, D) float32 on the CPU."""

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, D) float32 on the CPU, in the pictures' space."""


class ClipTower:
    """CLIP's two towers; pictures as its processor has them: short side bicubic, centre crop."""

    def __init__(self, source: str = CLIP, device: str = "cpu"):
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        self.model = CLIPModel.from_pretrained(source).eval().to(device)
        self.processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        self.checkpoint = checkpoint_name(source, self.model)
        crop = self.processor.crop_size
        self.preprocessing = (
            f"short side {dict(self.processor.size)} {_filter(self.processor.resample)}, centre crop "
            f"{crop['height']}×{crop['width']}"
        )

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        pixels = self.processor(list(images), return_tensors="pt").pixel_values
        return pooled(self.model.get_image_features(pixel_values=pixels.to(self.model.device))).float().cpu()

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        inputs = {name: tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        return pooled(self.model.get_text_features(**inputs)).float().cpu()


class DinoTower:
    """A DINO (v1 or v2) vision transformer's class token."""

    KINDS = ("vit", "dinov2")

    def __init__(self, source: str = DINO, device: str = "cpu"):
        from transformers import AutoModel

        config = {"add_pooling_layer": False} if _model_type(source) == "vit" else {}
        self.model = AutoModel.from_pretrained(source, **config).eval().to(device)
        self.checkpoint = checkpoint_name(source, self.model)
        # a small model's own input, for which the released sizes would be nonsense
        self.crop = min(DINO_CROP, int(self.model.config.image_size))
        self.resize = round(self.crop * DINO_RESIZE / DINO_CROP)
        self.preprocessing = (
            f"short side {self.resize} bicubic, centre crop {self.crop}, ImageNet statistics, class token"
        )

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        pixels = torch.stack([centre_crop(image, self.resize, self.crop) for image in images])
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        inputs = ((pixels - mean) / std).to(self.model.device)
        return self.model(pixel_values=inputs).last_hidden_state[:, 0].float().cpu()

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        raise ValueError("DINO reads no text. Use a CLIP model for texts.")


def centre_crop(image: Image.Image, resize: int, crop: int) -> torch.Tensor:
    """(3, crop, crop) in [0, 1]: short side to `resize`, bicubic, then the middle."""
    factor = resize / min(image.size)
    width, height = (max(resize, round(side * factor)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - crop) // 2, (height - crop) // 2
    part = resized.crop((left, top, left + crop, top + crop))
    values = torch.frombuffer(bytearray(part.tobytes()), dtype=torch.uint8).view(crop, crop, 3)
    return values.permute(2, 0, 1).float() / 255


class MiniatureTower:
    """The miniature's own towers, where CLIP stands: trained on renders alone, read by no part of the pipeline."""

    def __init__(self, device: str = "cpu"):
        self.towers = MiniatureTowers.load(device=device)
        self.checkpoint, self.preprocessing = self.towers.checkpoint, self.towers.preprocessing

    def image_features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return self.towers.image_features(images)

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        return self.towers.text_features(texts)


class MiniatureViewTower:
    """The same picture tower's second reading, in which a character's pictures lie together: where DINO stands."""

    def __init__(self, device: str = "cpu"):
        self.towers = MiniatureTowers.load(device=device)
        self.checkpoint = self.towers.checkpoint + VIEWS
        self.preprocessing = self.towers.preprocessing

    def image_features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return self.towers.view_features(images)

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        raise ValueError("the pictures' own space knows no texts.")


def _model_type(source: str) -> str:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source).model_type


def _filter(number) -> str:
    return Image.Resampling(int(number)).name.lower()


def clip_tower(source: str, device: str) -> Callable:
    """A maker of the tower, after its kind is checked; nothing heavy loads before it is called."""
    if source == MINIATURE:
        return lambda: MiniatureTower(device)
    check_kind(source, ("clip",), "clip")
    return lambda: ClipTower(source, device)


def dino_tower(source: str, device: str) -> Callable:
    """As `clip_tower`."""
    if source == MINIATURE:
        return lambda: MiniatureViewTower(device)
    check_kind(source, DinoTower.KINDS, "dino")
    return lambda: DinoTower(source, device)


def tower_checkpoint(kind: str, source: str) -> str:
    """What a tower's `checkpoint` will be, before its weights load.

    Args:
        kind: "clip" or "dino".
    """
    if source == MINIATURE:
        return towers_checkpoint() + (VIEWS if kind == "dino" else "")
    return checkpoint_of(source)
