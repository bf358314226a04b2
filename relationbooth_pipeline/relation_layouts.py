"""Layouts when nobody gives boxes: side by side, or where the text attention of each phrase lies; phrases in prompts.

Shape letters: B batch, N objects, L tokens per object, P = h·w positions, H heads, T text tokens.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from transformers import PreTrainedTokenizerBase

from .relation_images import short_repr
from .relation_regions import RelationMetadata, token_masks

logger = logging.get_logger(__name__)


def side_by_side(count: int) -> list[list[float]]:
    """Layout used when nothing else is known: equal columns from left to right over the middle 80 % of the height."""
    return [[i / count, 0.1, (i + 1) / count, 0.9] for i in range(count)]


def default_boxes(relation: RelationMetadata | None, count: int) -> list[list[float]]:
    """Boxes for `count` objects when none are given: the prior of the RelationLoRA in force, else side by side."""
    prior = relation.layout_prior if relation else None
    if prior and len(prior) == count:
        return [list(box) for box in prior]
    if prior:
        logger.warning(f"the layout prior is for {len(prior)} objects, not {count}: they are placed side by side.")
    return side_by_side(count)


def acting_calls(start: float, end: float, calls: int) -> list[int]:
    """Which of so many calls of the UNet, from 0, lie whole between two shares of them.

    Raises:
        ValueError: none does: image prompts would never act.
    """
    acting = [call for call in range(calls) if call / calls >= start and (call + 1) / calls <= end]
    if not acting:
        raise ValueError(
            f"`image_prompt_start` and `image_prompt_end` must have a whole step between them, got {start} and {end} "
            f"for {calls} steps. Widen them, or take more steps."
        )
    return acting


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

    def __init__(
        self,
        spans: torch.Tensor,
        box_masks: dict[int, torch.Tensor],
        mask_threshold: float,
        start_step: int,
        tokens_per_object: int,
        background_tokens: int = 0,
    ):
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

    def masks_of(self, layer: torch.nn.Module, query: torch.Tensor, text_key: torch.Tensor) -> torch.Tensor:
        """`masks`, by queries (B, H, P, d) and text keys (B, H, T, d)."""
        # The scale comes first: the bare product overflows in float16.
        scores = (query * query.shape[-1] ** -0.5) @ text_key.transpose(-1, -2)
        return self.masks(layer, scores.float().softmax(-1))

    def masks(self, layer: torch.nn.Module, text_probabilities: torch.Tensor) -> torch.Tensor:
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


def phrase_places(phrases: Sequence[str], prompt: str) -> list[tuple[int, int] | None]:
    """Characters [start, end) of the prompt that are each phrase's own, None when it has no place of its own.

    A phrase is found as whole words in any case: what stands beside it is no letter, digit, mark or `_`, so quotes,
    brackets, `;` and `'s` may, but "cat" is not in "cat-like". One of `. ! ? , :` may stand between its words, and a
    hyphenated word that ends in a word of the phrase belongs to it whole ("hot-dog" for "dog"; golden case
    `phrase_idx`). Longer phrases choose first, and no two share a character: the k-th repetition of a phrase gets its
    k-th occurrence, and "bear" is not looked for within "polar bear" when that is another phrase.
    """
    places: list[tuple[int, int] | None] = [None] * len(phrases)
    for i in sorted(range(len(phrases)), key=lambda i: -len(phrases[i])):
        taken = [place for place in places if place is not None]
        free = (
            m for m in _occurrences(phrases[i], prompt) if all(m[1] <= start or end <= m[0] for start, end in taken)
        )
        places[i] = next(free, None)
    return places


def missing_phrases(phrases: Sequence[str], prompt: str) -> list[str]:
    """Phrases that `phrase_places` does not find."""
    return [phrase for phrase, place in zip(phrases, phrase_places(phrases, prompt)) if place is None]


def warn_of_missing_phrases(phrases: Sequence[Sequence[str]], prompts: Sequence[str]) -> None:
    """Log a warning for every prompt that does not name its image prompts; one list of phrases a prompt."""
    for sample, prompt in zip(phrases, prompts):
        if missing := missing_phrases(sample, prompt):
            logger.warning(
                f"the prompt {short_repr(prompt)} does not say {', '.join(map(repr, missing))}: the text asks for "
                "other things than the image prompts show. Use the same words in both."
            )


def token_offsets(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[tuple[int, int]]:
    """Characters [start, end) of each token of the whole prompt, (0, 0) for start and end token."""
    return tokenizer(prompt, return_offsets_mapping=True, verbose=False).offset_mapping


def phrase_span(
    phrase: str, prompt: str, offsets: Sequence[tuple[int, int]], skip: int = 0, last_word_only: bool = False
) -> tuple[int, int]:
    """[start, end) of `phrase` among the prompt's tokens, position 0 being the start token; (0, 0) when absent.

    The tokens are those that hold a character of the phrase, by the rule of `phrase_places` (golden case `phrase_idx`).

    Args:
        offsets: of `token_offsets`.
        skip: number of earlier occurrences to pass over.
        last_word_only: span of the phrase's last word.
    Departs from the reference: it compares words case-sensitively and sees no phrase beside other punctuation; its
    spans after a skipped occurrence are early.
    """
    place = next(itertools.islice(_occurrences(phrase, prompt), skip, None), None)
    if place is not None and last_word_only:
        place = place[1] - len(prompt[slice(*place)].split()[-1]), place[1]
    return _tokens(place, offsets)


def phrase_spans(phrases: Sequence[str], prompt: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans, as `phrase_span`'s, of several phrases of one prompt that share no place; see `phrase_places`."""
    return [_tokens(place, offsets) for place in phrase_places(phrases, prompt)]


def prompt_spans(
    pipe: DiffusionPipeline, phrases: Sequence[Sequence[str]] | None, prompt: str | Sequence[str]
) -> torch.Tensor:
    """Token span of every phrase in its prompt, int (B, N, 2).

    Args:
        pipe: tokenizer and `maybe_convert_prompt` of the first text encoder.
        phrases: of each prompt.
    Raises:
        ValueError: no phrases, or one that is not among the tokens that the encoder reads.
    """
    if phrases is None:
        raise ValueError("automatic layout needs phrases, and these image prompts are without. Encode them again.")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    samples = []
    for sample, text in zip(phrases, prompts):
        text = pipe.maybe_convert_prompt(text, pipe.tokenizer)
        converted = pipe.maybe_convert_prompt(list(sample), pipe.tokenizer)  # textual inversions of several vectors
        spans = phrase_spans(converted, text, token_offsets(pipe.tokenizer, text))
        for phrase, (start, end) in zip(sample, spans):
            if not 0 < start < end < pipe.tokenizer.model_max_length:
                raise ValueError(
                    f"automatic layout must find each phrase in the prompt: {phrase!r} is not among the first "
                    f"{pipe.tokenizer.model_max_length} tokens of {text!r}. Use the prompt's own word, or pass `boxes`."
                )
        samples.append(torch.tensor(spans).reshape(-1, 2))
    return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)


def _tokens(place: tuple[int, int] | None, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    inside = [i for i, (start, end) in enumerate(offsets) if place and start < place[1] and end > place[0]]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _occurrences(phrase: str, prompt: str) -> Iterator[tuple[int, int]]:
    """Places of a phrase, left to right, that share no character with one another."""
    words = [rf"(?:\w+-)*{re.escape(word)}" for word in phrase.split()]
    pattern, start = re.compile(r"[.!?,:]?\s+".join(words), re.IGNORECASE), 0
    while words and (found := pattern.search(prompt, start)):
        before, after = prompt[: found.start()][-1:], prompt[found.end() :]
        if _in_word(before) or _in_word(after[:1]) or (after[:1] == "-" and _in_word(after[1:2])):
            start = found.start() + 1
        else:
            yield found.span()
            start = found.end()


def _in_word(character: str) -> bool:
    return character == "_" or unicodedata.category(character or " ")[0] in "LMN"


def open_rows(allowed: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """What attention kernels take for a mask in which some positions may read nothing.

    Args:
        allowed: bool (B, 1, P, S).
    Returns:
        The bias of the scores, (B, 1, P, S): 0 where a token may be read and −∞ elsewhere, but 0 throughout where
        nothing may; and (B, 1, P, 1): 1 where something may be read, 0 elsewhere, to multiply the result with.
    """
    inside = allowed.any(-1, keepdim=True)
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(inside & ~allowed, -torch.inf)
    return bias, inside.to(dtype)


def open_all(masks: dict[int, torch.Tensor], dtype: torch.dtype) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """`open_rows` of the masks of every grid."""
    return {positions: open_rows(mask, dtype) for positions, mask in masks.items()}
