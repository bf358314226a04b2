"""What can be wrong with a triplet, each fault as argument, rule and value."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..relation_images import open_image, read_mask
from ..relation_layouts import missing_phrases
from ..relation_regions import check_box
from .triplet import KEYPOINT_COUNT, KEYPOINT_ORDERS, Triplet

_PUNCTUATION = ".,;:!?\"'()"


def triplet_faults(triplet: Triplet) -> Iterator[str]:
    """Yield what is wrong with a triplet, each fault as argument, rule and value.

    Args:
        triplet: attributes that could not be read are None (their fault is known already) and looked at no further.
    """
    count = None if triplet.image_prompts is None else len(triplet.image_prompts)
    if count == 0:
        yield "`image_prompts` must name at least one image."
    for field in ("phrases", "boxes", "keypoints", "image_prompt_keypoints", "masks"):
        values = getattr(triplet, field)
        if values is not None and count is not None and len(values) != count:
            yield f"`{field}` must have one entry per image prompt ({count}), got {len(values)}."
    yield from _word_faults(triplet)
    if triplet.boxes is not None:
        for box in triplet.boxes.tolist():
            yield from _raised(check_box, box)
    for field in ("keypoints", "image_prompt_keypoints"):
        values = getattr(triplet, field)
        if values is None:
            continue
        if values.ndim != 3 or values.shape[1:] != (KEYPOINT_COUNT, 3):
            yield f"`{field}` must have shape (N, {KEYPOINT_COUNT}, 3), got {tuple(values.shape)}."
        elif values.numel() and not (values.min() >= 0 and values.max() <= 1):  # so that NaN is a fault
            yield (
                f"`{field}` must lie in [0, 1], got values from {values.min():g} to {values.max():g}. Divide pixels by "
                "the image's width and height."
            )
    if triplet.keypoint_order not in (None, *KEYPOINT_ORDERS):
        yield f"`keypoint_order` must be one of {', '.join(KEYPOINT_ORDERS)}, got {triplet.keypoint_order!r}."
    yield from _file_faults(triplet)


def _word_faults(triplet: Triplet) -> Iterator[str]:
    if triplet.prompt is None:
        return
    predicate = [] if triplet.predicate is None else [triplet.predicate]
    for field, words in (("phrases", triplet.phrases or []), ("predicate", predicate)):
        for word in missing_phrases(words, triplet.prompt):
            longer = next((w.strip(_PUNCTUATION) for w in triplet.prompt.split() if word.lower() in w.lower()), None)
            if not missing_phrases([word], triplet.prompt):
                hint = " Its place there is another phrase's."
            else:
                hint = f" It is a part of {longer!r} only: use whole words." if longer else ""
            yield f"`{field}`: {word!r} must stand in the prompt {triplet.prompt!r} as words of its own.{hint}"


def _file_faults(triplet: Triplet) -> Iterator[str]:
    size = None
    if triplet.image is not None:
        try:
            size = open_image(triplet.image).size
        except ValueError as error:
            yield str(error)
    for file in triplet.image_prompts or []:
        yield from _raised(open_image, file)
    for file in triplet.masks or []:
        try:
            mask = read_mask(file)
        except ValueError as error:
            yield str(error)
            continue
        found = (mask.shape[1], mask.shape[0])
        if size is not None and found != size:
            yield f"`{Path(file).name}` must have the target's size {size}, got {found}."
        elif not mask.any():
            yield f"`{Path(file).name}` must cover at least one pixel."


def _raised(check: Callable[[Any], Any], value: Any) -> Iterator[str]:
    try:
        check(value)
    except ValueError as error:
        yield str(error)
