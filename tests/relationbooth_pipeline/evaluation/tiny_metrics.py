"""Tiny real models of the kinds that metrics read pictures with, saved as they are downloaded."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    Owlv2Processor,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTModel,
)

from tests.tiny import tiny_tokenizer

SIDE = 28
TEXT = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def tiny_clip(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 77, **ids},
        vision_config={**TEXT, "image_size": SIDE, "patch_size": 14},
        projection_dim=16,
    )
    model = CLIPModel(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)  # fresh weights give nearly equal features
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)
    return str(folder)


def tiny_dino(folder: Path) -> str:
    torch.manual_seed(1)
    model = ViTModel(ViTConfig(**TEXT, image_size=SIDE, patch_size=14), add_pooling_layer=False).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)
    model.save_pretrained(folder)
    return str(folder)


def tiny_owl(folder: Path) -> str:
    torch.manual_seed(2)
    tokenizer = tiny_tokenizer(16)
    config = Owlv2Config(
        text_config={**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 16},
        vision_config={**TEXT, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    Owlv2ForObjectDetection(config).eval().save_pretrained(folder)
    processor = Owlv2ImageProcessorPil(size={"height": 64, "width": 64})
    Owlv2Processor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    return str(folder)


def tiny_llava(folder: Path, words: str = "Yes No Is there a the cat bear dog picture ? show Does this") -> str:
    torch.manual_seed(3)
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<image>", "<pad>", *dict.fromkeys(words.split())])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", additional_special_tokens=["<image>"]
    )
    template = (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
        "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    size = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=16,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=template,
    )
    vision = CLIPVisionConfig(**TEXT, image_size=32, patch_size=16)
    text = LlamaConfig(**TEXT, vocab_size=len(vocabulary), num_key_value_heads=2, pad_token_id=2)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=1, vision_feature_layer=-1)
    LlavaForConditionalGeneration(config).eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)
