"""Annotators of pictures by name; an annotator is one file here and its row in `KNOWN`."""

from collections.abc import Callable, Iterable, Sequence

from .annotator import (
    ROLES,
    Annotator,
    Box,
    BoxFinder,
    Captioner,
    Choice,
    KeypointFinder,
    Likeness,
    RelationJudge,
    Segmenter,
)
from .detectors import choose_detector
from .language import choose_captioner, choose_judge
from .miniature import choose_miniature
from .own import choose_own
from .poses import choose_vitpose
from .segmenters import choose_sam
from .towers import choose_tower

__all__ = [
    "ALL_MINIATURE", "DEFAULTS", "KNOWN", "ROLES", "Annotator", "Box", "BoxFinder", "Captioner", "Choice",
    "KeypointFinder", "Likeness", "RelationJudge", "Segmenter", "check_words", "choose", "choose_all",
]  # fmt: skip

# Role → prefix → what checks a name's model and gives a maker of it.
KNOWN: dict[str, dict[str, Callable[[str, str, str], Choice]]] = {
    "boxes": {"owlv2": choose_detector, "grounding-dino": choose_detector},
    "masks": {"sam": choose_sam, "sam2": choose_sam},
    "keypoints": {"vitpose": choose_vitpose},
    "captions": {"vlm": choose_captioner},
    "judge": {"vlm": choose_judge},
    "likeness": {"dino": choose_tower, "clip": choose_tower},
}
OPTIONAL = ("keypoints", "captions", "judge", "likeness")  # "none" turns these off
DEFAULTS = {
    "boxes": "owlv2:google/owlv2-base-patch16-ensemble",
    "masks": "sam:facebook/sam-vit-base",
    "keypoints": "vitpose:usyd-community/vitpose-base-simple",
    "captions": Choice.NONE,  # the template, or the sentence that was given
    "judge": Choice.NONE,
    "likeness": "dino:facebook/dino-vits16",
}
ALL_MINIATURE = {
    role: "miniature" if role != "captions" else Choice.NONE for role in ROLES
}  # the drawn world's, `--annotators miniature`


def choose(role: str, name: str, device: str = "cpu") -> Choice | None:
    """The annotator that a name means, its kind checked; its weights load later.

    Args:
        role: of `ROLES`. name: "prefix:folder or repository", "miniature", "module:Class", or "none".
    Returns:
        None for "none".
    Raises:
        ValueError: an unknown name, with those that are known; a model of another kind; a package that it lacks.
    """
    prefix, _, source = name.partition(":")
    known = [f"`{known}:MODEL`" for known in KNOWN[role]]
    if role != "captions":
        known.append("`miniature`")
    if role in OPTIONAL:
        known.append("`none`")
    if name == Choice.NONE and role in OPTIONAL:
        return None
    if name == "miniature" and role != "captions":
        return choose_miniature(role, device)
    if source and prefix in KNOWN[role]:
        return KNOWN[role][prefix](prefix, source, device)
    if not source or "/" in prefix or not prefix.replace(".", "").replace("_", "").isalnum():
        raise ValueError(f"`--{role}` must be one of {', '.join(known)} or `module:Class`, got {name!r}.")
    return choose_own(name, ROLES[role], device, ", ".join(known))


def choose_all(names: dict[str, str], device: str = "cpu") -> dict[str, Choice | None]:
    """One choice for every role; what is wrong with any of them is told at once.

    Raises:
        ValueError: one line for each name that is refused.
    """
    chosen, faults = {}, []
    for role in ROLES:
        try:
            chosen[role] = choose(role, names[role], device)
        except ValueError as error:
            faults.append(" ".join(str(error).split()))  # a library's own text may have lines
    if faults:
        raise ValueError("\n".join(faults))
    return chosen


def check_words(choices: dict[str, Choice | None], words: Iterable[tuple[Sequence[str], str]]) -> None:
    """See that every annotator knows the words that it will be asked about.

    Args:
        words: (phrases, predicate) of the candidates.
    Raises:
        ValueError: one line for each fault.
    """
    faults: dict[str, None] = {}
    for phrases, predicate in dict.fromkeys((tuple(phrases), predicate) for phrases, predicate in words):
        for choice in filter(None, choices.values()):
            try:
                choice.check_words(phrases, predicate)
            except ValueError as error:
                faults[str(error)] = None
    if faults:
        raise ValueError("\n".join(faults))
