"""A real CLIP tokenizer for the world: every byte covered, every word of the world one token."""

import json
from functools import lru_cache
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from .captions import world_words

MAX_LENGTH = 32  # tokens; the longest caption has 23 words
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_characters():
    """The 256 printable stand-ins of bytes, in GPT-2's order (as in CLIP's released vocabulary)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def _apply(merges, pieces):
    """Byte-pair encoding of one word; `merges` maps a pair to its rank."""
    pieces = list(pieces)
    while len(pieces) > 1:
        ranked = [(merges[pair], at) for at, pair in enumerate(zip(pieces, pieces[1:])) if pair in merges]
        if not ranked:
            break
        at = min(ranked)[1]
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def vocabulary_and_merges(words):
    """({token: id}, [(left, right)]). The two special tokens come last: CLIP's pooling looks for the end token's id."""
    merges = {}
    for word in words:
        pieces = _apply(merges, [*word[:-1], word[-1] + "</w>"])
        while len(pieces) > 1:
            merges.setdefault((pieces[0], pieces[1]), len(merges))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    characters = byte_characters()
    tokens = [*characters, *(character + "</w>" for character in characters)]
    tokens += [left + right for left, right in merges]
    tokens = [*dict.fromkeys(tokens), START, END]
    return {token: index for index, token in enumerate(tokens)}, list(merges)


def write_tokenizer(folder, edition=None):
    """Write vocab.json and merges.txt and load them as a CLIPTokenizer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = vocabulary_and_merges(world_words(edition))
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer.from_pretrained(
        folder, bos_token=START, eos_token=END, unk_token=END, pad_token=END, model_max_length=MAX_LENGTH
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def tokenize(tokenizer, texts):
    """(B, 32) token ids. Words of the world are looked up, which takes a quarter of the time."""
    length, ids_of = tokenizer.model_max_length, _ids_of_words(tokenizer)
    words = [text.split() for text in texts]
    if any(word not in ids_of for of_text in words for word in of_text) or len(max(words, key=len)) > length - 2:
        return tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
    ids = [[tokenizer.bos_token_id, *(ids_of[word] for word in of_text), tokenizer.eos_token_id] for of_text in words]
    return torch.tensor([row + [tokenizer.pad_token_id] * (length - len(row)) for row in ids])


@lru_cache
def _ids_of_words(tokenizer):
    """{word: id} of the lower-case words that are one token."""
    vocabulary = tokenizer.get_vocab().items()
    words = {token.removesuffix("</w>"): number for token, number in vocabulary if token.endswith("</w>")}
    return {word: number for word, number in words.items() if word.isalpha() and word.islower() and word.isascii()}
