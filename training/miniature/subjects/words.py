"""New words of a pipeline: taught to both text encoders, trained alone, kept as diffusers' scripts do, forgotten."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

from relationbooth_pipeline.evaluation.systems.subjects import WORDS
from relationbooth_pipeline.relation_files import whole_file

KEYS = ("clip_l", "clip_g")  # diffusers' names of SDXL's encoders in a file of words


def text_parts(pipe: StableDiffusionXLPipeline) -> tuple:
    """(key in the file, tokenizer, text encoder) of both encoders."""
    return (KEYS[0], pipe.tokenizer, pipe.text_encoder), (KEYS[1], pipe.tokenizer_2, pipe.text_encoder_2)


def embeddings_of(pipe: StableDiffusionXLPipeline, text: str) -> dict[str, torch.Tensor]:
    """{"clip_l", "clip_g": (V, D)}: the embeddings of a text's own V tokens, from which a new word may start."""
    start = {}
    for key, tokenizer, encoder in text_parts(pipe):
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]
        start[key] = encoder.get_input_embeddings().weight[ids].detach().clone()
    return start


def add_word(pipe: StableDiffusionXLPipeline, word: str, embeddings: dict[str, torch.Tensor]) -> None:
    """Teach both tokenizers and text encoders a word.

    Args:
        embeddings: {"clip_l", "clip_g": (V, D)}; further vectors are written word_1, word_2, … as diffusers does.
    Raises:
        ValueError: a tensor is missing, or the word is already there (`forget_word` first).
    """
    if missing := set(KEYS) - set(embeddings):
        raise ValueError(
            f"the embeddings of {word!r} must hold `clip_l` and `clip_g`, got {sorted(embeddings)} without "
            f"{sorted(missing)}."
        )
    if pipe.tokenizer_2 is pipe.tokenizer:  # a tokenizer takes a word only once, and each encoder adds it to its own
        pipe.tokenizer_2 = copy.deepcopy(pipe.tokenizer)
    for key, tokenizer, encoder in text_parts(pipe):
        pipe.load_textual_inversion(embeddings[key], token=word, text_encoder=encoder, tokenizer=tokenizer)


def forget_word(pipe: StableDiffusionXLPipeline, word: str) -> None:
    """Both text encoders are then as before `add_word`, bit for bit; words that were added later go with it."""
    for _, tokenizer, encoder in text_parts(pipe):
        added = tokenizer.get_added_vocab()
        words = sorted((name for name in added if name.startswith(word)), key=added.get)
        pipe.unload_textual_inversion(words, tokenizer=tokenizer, text_encoder=encoder)
        encoder.resize_token_embeddings(len(tokenizer))  # the config's `vocab_size`, which diffusers leaves too large


def train_last_rows(pipe: StableDiffusionXLPipeline, count: int) -> Callable[[], dict[str, torch.Tensor]]:
    """Let the last `count` embeddings of both encoders train, and no other row.

    Without a gradient, and without weight decay, AdamW leaves the other rows exactly as they are.

    Returns:
        A function that ends it and gives {"clip_l", "clip_g": (count, D)}; the weights are
        `get_input_embeddings().weight` of each encoder.
    """
    weights, handles = {}, []
    for key, _, encoder in text_parts(pipe):
        weight = weights[key] = encoder.get_input_embeddings().weight
        is_new = torch.arange(len(weight))[:, None] >= len(weight) - count
        handles.append(weight.requires_grad_(True).register_hook(lambda gradient, is_new=is_new: gradient * is_new))

    def end() -> dict[str, torch.Tensor]:
        for handle in handles:
            handle.remove()
        return {key: weight.requires_grad_(False)[-count:].clone() for key, weight in weights.items()}

    return end


def save_word(folder: Path, word: str, embeddings: dict[str, torch.Tensor]) -> None:
    """One file for each text encoder, as `textual_inversion_sdxl.py` writes them.

    Args:
        embeddings: {"clip_l", "clip_g": (D,)}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, key in zip(WORDS, KEYS):
        with whole_file(folder / name) as path:
            save_file({word: embeddings[key].detach().cpu().contiguous()}, path)
