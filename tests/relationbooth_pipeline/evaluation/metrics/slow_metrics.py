"""Features and cosines in plain loops, which metrics are compared with."""

import math

import pytest
import torch
from PIL import Image
from transformers import AutoModel, CLIPModel

from relationbooth_pipeline.evaluation.metrics.features import FeatureStore
from relationbooth_pipeline.vision.towers import ClipTower, DinoTower
from tests.tiny import photo, tiny_tokenizer

from ..tiny_bench import write_bench

PICTURES = [photo(50, (64, 48)), photo(51, (30, 40))]


def cosine(first, second):
    dot = sum(a * b for a, b in zip(first, second))
    return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def clip_vector(folder, picture):
    """CLIP's own processor written out: short side to 28, bicubic, the middle 28 × 28."""
    model = CLIPModel.from_pretrained(folder).eval()
    factor = 28 / min(picture.size)
    width, height = (int(side * factor) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 28) // 2, (height - 28) // 2
    part = resized.crop((left, top, left + 28, top + 28))
    values = torch.tensor(list(part.getdata()), dtype=torch.float32).view(28, 28, 3) / 255
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((values - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=pixels).pooler_output
        return model.visual_projection(pooled)[0].tolist()


def text_vector(folder, text):
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), tiny_tokenizer()
    ids = torch.tensor([tokenizer(text).input_ids])  # no padding: what stands after the end token is not read
    with torch.no_grad():
        pooled = model.text_model(input_ids=ids).pooler_output
        return model.text_projection(pooled)[0].tolist()


def dino_vector(folder, picture):
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    factor = 32 / min(picture.size)  # 28 · 256 / 224
    width, height = (max(32, round(side * factor)) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 28) // 2, (height - 28) // 2
    part = resized.crop((left, top, left + 28, top + 28))
    values = torch.tensor(list(part.getdata()), dtype=torch.float32).view(28, 28, 3) / 255
    pixels = ((values - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])).permute(2, 0, 1)
    with torch.no_grad():
        return model(pixel_values=pixels[None]).last_hidden_state[0, 0].tolist()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def clip(models):
    return FeatureStore(ClipTower(models["clip"]), None)


@pytest.fixture(scope="module")
def dino(models):
    return FeatureStore(DinoTower(models["dino"]), None)
