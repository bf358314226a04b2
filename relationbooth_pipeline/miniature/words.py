"""Words of the drawn world: the only ones that its towers and its annotator read."""

from collections.abc import Iterable, Sequence

import torch


def words_of(text: str, known: Iterable[str], argument: str = "text") -> list[str]:
    """The text's words in small letters, without punctuation.

    Raises:
        ValueError: a word that the world does not have, or no word; the known ones are named.
    """
    found, vocabulary = [word.strip(".,;:!?\"'") for word in text.lower().split()], list(known)
    found = [word for word in found if word]
    unknown = list(dict.fromkeys(word for word in found if word not in vocabulary))
    if unknown or not found:
        what = f"{', '.join(map(repr, unknown))} in {text!r}" if unknown else repr(text)
        raise ValueError(f"`{argument}` must be of the drawn world's words: {', '.join(vocabulary)}; got {what}.")
    return found


def numbered(texts: Sequence[str], words: Sequence[str]) -> torch.Tensor:
    """(B, T) word numbers from 1, 0 after a text's end.

    Raises:
        ValueError: as `words_of`.
    """
    number = {word: index + 1 for index, word in enumerate(words)}
    rows = [[number[word] for word in words_of(text, words)] for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])
