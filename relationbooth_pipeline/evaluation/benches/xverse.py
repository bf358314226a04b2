"""XVerseBench: prompts with two or three subjects, many of them interacting, and ready questions about them."""

from pathlib import Path

from ...relation_layouts import phrase_places
from ..cases import Case
from .dreambench import read_json


def xverse_bench(path: str | Path, images: str | Path, questions: str | Path | None = None) -> list[Case]:
    """Cases of `XVerseBench_single.json` or `XVerseBench_multi.json`.

    Args:
        path: the list. images: folder that its photos are named from.
        questions: its `*_DSG.json`; of each case the questions that depend on two others are kept: those about an
            interaction.
    Raises:
        ValueError: entries of another kind, or a subject without a phrase in its prompt.
    """
    path, images = Path(path), Path(images)
    asked = _questions(questions) if questions is not None else {}
    cases = []
    for number, entry in enumerate(read_json(path, list)):
        try:
            prompt, index = entry["prompt"], entry.get("index", number)
            subjects = [(inputs, words) for block in entry["modulation"] for inputs, words in _pairs(block)]
            photos = [str((images / inputs["image_path"]).absolute()) for inputs, _ in subjects]
            phrases = [words for _, words in subjects]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"`{path}`: entry {number} is none of XVerseBench ({error!r}).") from error
        lost = [phrase for phrase, place in zip(phrases, phrase_places(phrases, prompt)) if place is None]
        if lost:
            raise ValueError(f"`{path}`: entry {number} names {', '.join(lost)}, absent from its prompt {prompt!r}.")
        cases.append(
            Case(
                id=f"{int(index):04d}",
                prompt=prompt,
                phrases=tuple(phrases),
                references=tuple((photo,) for photo in photos),
                generate_with=(0,) * len(photos),
                bench="xversebench-single" if len(photos) == 1 else "xversebench-multi",
                objects=tuple(Path(photo).stem for photo in photos),
                questions=tuple(asked.get(str(index), ())),
            )
        )
    return cases


def _pairs(block: dict):
    """(input, its words in the prompt) of each subject: `use_words` names [input number, word, word in the prompt]."""
    for inputs, words in zip(block["src_inputs"], block["use_words"], strict=True):
        number, _, word = words
        yield block["src_inputs"][int(number)] if int(number) < len(block["src_inputs"]) else inputs, word


def _questions(path: str | Path) -> dict[str, list[str]]:
    """Index → its questions with two or more parents in the dependency graph."""
    document = read_json(path, (dict, list))
    entries = document.items() if isinstance(document, dict) else ((str(e.get("index")), e) for e in document)
    found: dict[str, list[str]] = {}
    for index, entry in entries:
        try:
            parents = entry["qid2dependency"]
            found[str(index)] = [text for qid, text in entry["qid2question"].items() if len(parents[qid]) > 1]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"`{path}`: entry {index} has no questions with dependencies ({error!r}).") from error
    return found
