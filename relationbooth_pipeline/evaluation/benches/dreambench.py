"""DreamBench: the folder of google/dreambooth with its prompts, and the json lists of bytedance/UNO."""

import json
import re
from pathlib import Path
from typing import Any

from ..cases import Case
from .folders import ImageFolder, slug

CLASSES = "prompts_and_classes.txt"
_TEMPLATE = re.compile(r"'([^']*\{0\}[^']*)'\.format\(")
_LIVE = ("cat", "dog")  # nouns of the nine living subjects


def dreambench(folder: str | Path) -> list[Case]:
    """30 subjects × 25 prompts; objects and living subjects have their own lists, read from the user's copy.

    The prompts' "{0} {1}" (unique token, class) becomes the class alone, the phrase. The first photo is given.

    Args:
        folder: `dataset` of google/dreambooth.
    Raises:
        ValueError: the prompt file is missing or reads otherwise than released.
    """
    images = ImageFolder(folder)
    path = Path(folder) / CLASSES
    if not path.is_file():
        raise ValueError(f"no `{path}`. Give the folder `dataset` of google/dreambooth.")
    text = path.read_text(encoding="utf-8-sig")
    head, _, live = text.partition("Live Subject Prompts")
    classes_text, _, objects = head.partition("Object Prompts")
    classes = dict(re.findall(r"^([a-z0-9_]+),([a-z][a-z ]*?)\s*$", classes_text, re.MULTILINE))
    classes.pop("subject_name", None)
    templates = {True: _TEMPLATE.findall(live), False: _TEMPLATE.findall(objects)}
    if not classes or not all(templates.values()):
        raise ValueError(f"`{path}` lacks its classes or one of its two prompt lists. Download it again.")
    cases = []
    for subject, noun in classes.items():
        photos = tuple(images.photos(subject))
        for number, template in enumerate(templates[noun in _LIVE]):
            prompt = " ".join(template.replace("{0}", "").replace("{1}", noun).split())
            cases.append(Case(f"{subject}-{number:02d}", prompt, (noun,), (photos,), (0,), "dreambench", (subject,)))
    return cases


def dreambench_json(path: str | Path, nouns: dict[str, str] | None = None) -> list[Case]:
    """UNO's lists: one fixed photo for each subject and prompt, single or in pairs.

    They name no noun, so the class of each subject is looked up, and must stand in the prompt.

    Args:
        path: `dreambench_singleip.json` or `dreambench_multiip.json`; photos are named from its folder.
        nouns: subject → noun; None: from the `prompts_and_classes.txt` beside the photos.
    """
    path = Path(path)
    entries = read_json(path, list)
    cases = []
    for number, entry in enumerate(entries):
        try:
            prompt, photos = entry["prompt"], [path.parent / name for name in entry["image_paths"]]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"`{path}`: entry {number} must have `prompt` and `image_paths`, got {entry!r}."
            ) from error
        subjects = [photo.parent.name for photo in photos]
        if nouns is None:
            nouns = _nouns_beside(photos[0].parent.parent)
        if unknown := [subject for subject in subjects if subject not in nouns]:
            raise ValueError(f"`{path}`: no noun is known for {', '.join(unknown)}. Pass `nouns`.")
        images = ImageFolder(photos[0].parent.parent)
        references = tuple(tuple(images.photos(subject)) for subject in subjects)
        chosen = []
        for photo, found in zip(photos, references):
            if str(photo.absolute()) not in found and str(photo.resolve()) not in found:
                raise ValueError(f"`{path}`: entry {number} names `{photo}`, which is not there.")
            names = [Path(name).name for name in found]
            chosen.append(names.index(photo.name))
        cases.append(
            Case(
                id=f"{number:04d}-" + "-".join(slug(s) for s in subjects),
                prompt=prompt,
                phrases=tuple(nouns[s] for s in subjects),
                references=references,
                generate_with=tuple(chosen),
                bench="dreambench-single" if len(subjects) == 1 else "dreambench-multi",
                objects=tuple(subjects),
            )
        )
    return cases


def _nouns_beside(folder: Path) -> dict[str, str]:
    return {case.objects[0]: case.phrases[0] for case in dreambench(folder)}


def read_json(path: str | Path, kind: type | tuple[type, ...]) -> Any:
    """JSON of a user's file.

    Raises:
        ValueError: missing, damaged, or another kind of document.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no file `{path}`. Download the data set and name it.")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"`{path}` is no JSON ({error}). Download it again.") from error
    if not isinstance(found, kind):
        raise ValueError(
            f"`{path}` must hold a {_kind_name(kind)}, got a {type(found).__name__}: it is another bench's."
        )
    return found


def _kind_name(kind: type | tuple[type, ...]) -> str:
    return " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
