"""Models that begin with other sizes' weights do what those did."""

import shutil

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from relationbooth_pipeline import miniature
from training.miniature.stages import warm_start
from training.miniature.stages.base import build_unet
from training.miniature.stages.encoders import build_image_encoder, build_text_encoders, grow_vocabulary
from training.miniature.world import tokenizer as words
from training.miniature.world.proportions import EDITIONS


def test_a_larger_vocabulary_reads_old_sentences_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(
        words, "world_words", lambda edition: ("somersaulting", "bear", "hugging", "red", "is", "cat", "a")
    )
    tokenizer = words.write_tokenizer(tmp_path)
    models = build_text_encoders(len(tokenizer))
    warm_start.start_text_encoders(models, tokenizer, miniature.path())
    shipped = CLIPTextModel.from_pretrained(miniature.path(), subfolder="text_encoder", dtype=torch.float32)
    old = CLIPTokenizer.from_pretrained(miniature.path(), subfolder="tokenizer")
    text = ["a red cat is hugging a bear"]
    with torch.no_grad():
        pooled = [
            model.eval()(words.tokenize(own, text)).pooler_output
            for model, own in ((models[0], tokenizer), (shipped, old))
        ]
    assert not torch.equal(words.tokenize(tokenizer, text), words.tokenize(old, text)), "the numbers differ"
    assert torch.allclose(*pooled, atol=1e-5)


def test_a_vocabulary_grows_in_place(tmp_path, monkeypatch):
    for name in ("tokenizer", "text_encoder", "text_encoder_2"):
        shutil.copytree(miniature.path() / name, tmp_path / name)
    (tmp_path / "checkpoint.pt").touch()
    grown = (*words.world_words(), "somersaulting")
    monkeypatch.setattr(words, "world_words", lambda edition: grown)
    grow_vocabulary(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert len(words.tokenize(tokenizer, ["a somersaulting cat"])[0].unique()) == 5, "three words, a start and an end"
    second = [
        CLIPTextModelWithProjection.from_pretrained(folder, subfolder="text_encoder_2", dtype=torch.float32).eval()
        for folder in (tmp_path, miniature.path())
    ]
    old = CLIPTokenizer.from_pretrained(miniature.path(), subfolder="tokenizer")
    with torch.no_grad():
        embeds = [m(words.tokenize(own, ["a red cat"])).text_embeds for m, own in zip(second, (tokenizer, old))]
    assert torch.allclose(*embeds, atol=1e-5) and not (tmp_path / "checkpoint.pt").exists()


def test_a_unet_begins_with_the_shipped_one():
    unet = build_unet()
    warm_start.start_unet(unet, miniature.path())
    shipped = UNet2DConditionModel.from_pretrained(miniature.path(), subfolder="unet", torch_dtype=torch.float32)
    assert all(weight.equal(unet.state_dict()[name]) for name, weight in shipped.state_dict().items())


def test_smaller_patches_are_read_as_if_enlarged(tmp_path):
    large, small = (build_image_encoder(EDITIONS[edition]) for edition in (1, 2))
    large.save_pretrained(tmp_path)
    warm_start.start_image_encoder(small, tmp_path)
    patch = torch.rand(2, 3, 4, 4)
    enlarged = F.interpolate(patch, (16, 16), mode="bilinear", align_corners=False)
    seen = [
        model.vision_model.embeddings.patch_embedding(pixels).flatten()
        for model, pixels in ((small, patch), (large, enlarged))
    ]
    assert torch.allclose(*seen, atol=1e-4)
    positions = [model.vision_model.embeddings.position_embedding.weight for model in (small, large)]
    assert torch.equal(positions[0][0], positions[1][0]) and len(positions[0]) == 37
    blocks = [model.vision_model.encoder.layers[0].mlp.fc1.weight for model in (small, large)]
    assert torch.equal(*blocks)
