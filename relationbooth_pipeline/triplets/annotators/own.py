"""Anybody's annotator: `module:Class`."""

import importlib

from .annotator import Annotator, Choice


def choose_own(name: str, role: type[Annotator], device: str, known: str) -> Choice:
    """A class of an importable module, made with `Class(device=…)` when its stage begins.

    Its class attribute `checkpoint` says which weights it has; without one its name does.

    Raises:
        ValueError: no such module or class, it is not a subclass of the role, or lacks its methods.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"`{name}` is no annotator that is known here ({error}). Known are {known}, and `module:Class` of a module "
            "that Python can import."
        ) from error
    if not (isinstance(found, type) and issubclass(found, role)):
        raise ValueError(
            f"`{name}` must be a subclass of relationbooth_pipeline.triplets.annotators.{role.__name__}, got {found!r}."
        )
    if missing := sorted(found.__abstractmethods__):  # else it would fail when its stage begins
        raise ValueError(f"`{name}` lacks {', '.join(missing)} of {role.__name__}. Write what is missing.")
    order = getattr(found, "keypoint_order", None)
    checkpoint = getattr(found, "checkpoint", name)
    return Choice(name, checkpoint, lambda: found(device=device), order, check_words=found.check_words)
