"""Tiny real models: the classes and file formats of SDXL at toy size, with random weights from a fixed seed."""

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter, RelationBoothPipeline

WORDS = "a an the and is with on in at cat bear dog plushie hugging beach red blue".split()
VISION_WIDTH, TEXT_WIDTH = 32, 32
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def tiny_tokenizer(max_length: int = 77) -> CLIPTokenizer:
    """A CLIP tokenizer that covers every byte; each of `WORDS` is one token."""
    letters = list(bytes_to_unicode().values())
    vocabulary, merges = letters + [letter + "</w>" for letter in letters], []
    # Longest first: a merge of "at" that came before those of "cat" would split "cat".
    for word in sorted(WORDS, key=len, reverse=True):
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            if (pair := (parts[0], parts[1])) not in merges:
                merges.append(pair)
            parts[:2] = ["".join(pair)]
            vocabulary.append(parts[0])
    vocabulary = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges, model_max_length=max_length
    )


def tiny_unet(seed: int = 0, **changes) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    config = {
        "sample_size": 8,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (2, 4),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "transformer_layers_per_block": (1, 2),
        "projection_class_embeddings_input_dim": 6 * 8 + TEXT_WIDTH,
        "cross_attention_dim": 2 * TEXT_WIDTH,
    }
    return UNet2DConditionModel(**{**config, **changes}).eval()


def tiny_vae() -> AutoencoderKL:
    torch.manual_seed(1)
    # Eight times smaller latents, as SDXL's.
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=64,
        force_upcast=False,
    ).eval()


def tiny_text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tiny_vision(model_class=CLIPVisionModelWithProjection, width: int = VISION_WIDTH, seed: int = 2):
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=28,
        patch_size=14,
        projection_dim=16,
    )
    return model_class(config).eval()


def tiny_adapter(unet: UNet2DConditionModel, seed: int = 3, **changes) -> RelationAdapter:
    torch.manual_seed(seed)
    resampler = {"dim": 32, "depth": 1, "heads": 4, "dim_head": 8, "num_queries": 4}
    config = {"resampler_config": resampler, "image_prompt_size": 64, "local_image_size": 112}
    return RelationAdapter.for_unet(
        unet, embedding_dim=VISION_WIDTH, phrase_embeddings_dim=TEXT_WIDTH, **{**config, **changes}
    ).eval()


def tiny_components() -> dict:
    """Everything `StableDiffusionXLPipeline` needs."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(4)
    return {
        "vae": tiny_vae(),
        "text_encoder": CLIPTextModel(tiny_text_config(tokenizer)).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(tiny_text_config(tokenizer)).eval(),
        "tokenizer": tokenizer,
        "tokenizer_2": tiny_tokenizer(),
        "unet": tiny_unet(),
        "scheduler": EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    }


def tiny_pipeline(adapter: bool = True, local: bool = True, **changes) -> RelationBoothPipeline:
    """A pipeline of tiny components, with adapter and encoders unless told otherwise."""
    components = {**tiny_components(), **changes}
    if adapter:
        components["relation_adapter"] = tiny_adapter(components["unet"])
        components["image_prompt_encoder"] = tiny_vision()
        components["local_image_encoder"] = tiny_vision(LocalImageEncoder, seed=5) if local else None
    pipe = RelationBoothPipeline(**components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def photo(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A noise picture, (width, height)."""
    values = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(values.to(torch.uint8).numpy())
