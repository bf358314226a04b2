"""Layouts when nobody gives boxes: side by side, or where the text attention of each phrase lies.

Shape letters: B batch, N objects, L tokens per object, P = h·w positions, H heads, T text tokens.
"""

import re
from collections.abc import Callable, Sequence

import torch

from .relation_regions import token_masks


def side_by_side(count: int) -> list[list[float]]:
    """Layout used when nothing else is known: equal columns from left to right over the middle 80 % of the height."""
    return [[i / count, 0.1, (i + 1) / count, 0.9] for i in range(count)]


class AutomaticLayout:
    """Regions found from the text attention of each phrase while denoising; belongs to one generation.

    Every call of a layer adds its map (text probabilities, mean over heads and the phrase's tokens). From the
    `start_step`-th call on, the mean of that layer's maps, scaled to [0, 1] by (m − min)/(max − min + 1e-5), is cut at
    `mask_threshold`; until then the boxes act (golden case `attention`, tensors `auto`).

    Args:
        spans: int, (B, N, 2): [start, end) of each phrase in the tokenised prompt; (0, 0) covers nothing.
        box_masks: `token_masks` of the boxes by number of positions P, used before `start_step`.
        mask_threshold: in [0, 1].
        start_step: number of calls of a layer from which its own maps act, ≥ 1.
        tokens_per_object, background_tokens: as in `token_masks`.
    """

    def __init__(self, spans, box_masks, mask_threshold, start_step, tokens_per_object, background_tokens=0):
        self.spans, self.box_masks = spans, box_masks
        self.mask_threshold, self.start_step = mask_threshold, start_step
        self.tokens_per_object, self.background_tokens = tokens_per_object, background_tokens
        self._sums = {}  # layer → (number of maps, their sum): the maps themselves would grow with every step

    def phrase_maps(self, text_probabilities: torch.Tensor) -> torch.Tensor:
        """Mean text attention of each phrase, (B, H, P, T) → (B, N, P)."""
        tokens = torch.arange(text_probabilities.shape[-1], device=text_probabilities.device)
        spans = self.spans.to(tokens.device)
        inside = (tokens >= spans[..., :1]) & (tokens < spans[..., 1:])
        weights = inside / inside.sum(-1, keepdim=True).clamp(min=1)
        return text_probabilities.mean(1) @ weights.to(text_probabilities.dtype).transpose(1, 2)  # (B, P, N)

    def masks(self, layer, text_probabilities: torch.Tensor) -> torch.Tensor:
        """Record this call of `layer` and return the mask in force, as `token_masks`."""
        maps = self.phrase_maps(text_probabilities.float()).transpose(1, 2)
        count, total = self._sums.get(layer, (0, 0.0))
        count, total = self._sums[layer] = (count + 1, total + maps)
        if count < self.start_step:
            return self.box_masks[maps.shape[-1]]
        mean = total / count
        low, high = mean.amin(-1, keepdim=True), mean.amax(-1, keepdim=True)
        regions = (mean - low) / (high - low + 1e-5) > self.mask_threshold
        return token_masks(regions, self.tokens_per_object, self.background_tokens)


_PUNCTUATION = ".!?,:"


def _bare(word: str) -> str:
    return word[:-1] if word and word[-1] in _PUNCTUATION else word


def phrase_span(
    phrase: str, prompt: str, count_tokens: Callable[[str], int], skip: int = 0, last_word_only: bool = False
) -> tuple[int, int]:
    """[start, end) of `phrase` among the prompt's tokens, position 0 being the start token; (0, 0) when absent.

    Words are split at white space and compared case-sensitively; one trailing character of `. ! ? , :` of a prompt word
    is ignored, and a hyphenated word that ends in the phrase's word matches whole. (Golden case `phrase_idx`.)

    Args:
        count_tokens: number of tokens of one word, without start and end token.
        skip: number of earlier occurrences to pass over.
        last_word_only: span of the phrase's last word.
    Departs from the reference: passing over an occurrence advances the token count, so later spans are not early.
    """
    wanted, words = phrase.split(), prompt.split()
    if not wanted:
        return 0, 0

    def matches(word: str, target: str) -> bool:
        bare = _bare(word)
        return bare == target or f"-{target}" in bare

    for first in range(len(words) - len(wanted) + 1):
        window = words[first : first + len(wanted)]
        if not all(map(matches, window, wanted)):
            continue
        if skip:
            skip -= 1
            continue
        start = 1 + sum(count_tokens(word) for word in words[:first])
        inner = sum(count_tokens(word) for word in window[:-1])
        end = start + inner + count_tokens(_bare(window[-1]))
        return (start + inner if last_word_only else start), end
    return 0, 0


def phrase_spans(phrases: Sequence[str], prompt: str, count_tokens: Callable[[str], int]) -> list[tuple[int, int]]:
    """Spans of several phrases of one prompt: the k-th repetition of a phrase asks for its k-th occurrence."""
    return [phrase_span(p, prompt, count_tokens, skip=list(phrases[:i]).count(p)) for i, p in enumerate(phrases)]


def prompt_spans(pipe, phrases: Sequence[Sequence[str]], prompt: str | Sequence[str]) -> torch.Tensor:
    """Token span of every phrase in its prompt, int (B, N, 2).

    Args:
        pipe: tokenizer and `maybe_convert_prompt` of the first text encoder.
        phrases: of each prompt.
    Raises:
        ValueError: a phrase is not among the tokens that the encoder reads.
    """
    prompts = [prompt] if isinstance(prompt, str) else prompt
    samples = []
    for sample, text in zip(phrases, prompts):
        text = pipe.maybe_convert_prompt(text, pipe.tokenizer)
        spans = phrase_spans(sample, text, lambda word: len(pipe.tokenizer(word).input_ids) - 2)
        for phrase, (start, end) in zip(sample, spans):
            if not 0 < start < end < pipe.tokenizer.model_max_length:
                raise ValueError(
                    f"automatic layout must find each phrase in the prompt: {phrase!r} is not among the first "
                    f"{pipe.tokenizer.model_max_length} tokens of {text!r}. Use the prompt's own word, or pass `boxes`."
                )
        samples.append(torch.tensor(spans).reshape(-1, 2))
    return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)


def missing_phrases(phrases: Sequence[str], prompt: str) -> list[str]:
    """Phrases that `prompt` does not hold as whole words, in any case and with any white space between them."""

    def found(phrase: str) -> bool:
        words = r"\s+".join(map(re.escape, phrase.split()))
        return re.search(rf"(?<!\w){words}(?!\w)", prompt, re.IGNORECASE) is not None

    return [phrase for phrase in phrases if not found(phrase)]
