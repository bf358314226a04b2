"""Where a phrase stands in the tokenised prompt."""

from collections.abc import Callable, Sequence

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
