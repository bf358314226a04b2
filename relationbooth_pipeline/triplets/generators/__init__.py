"""Who draws targets and the same objects alone: each in one file, chosen by name."""

import importlib
from collections.abc import Callable
from typing import Any

from .endpoint import ADDRESS, KEY_VARIABLE, ImagesEndpoint
from .generator import Busy, Drawn, Generator, Halt, Refused, Request, Unanswered, Undrawn, Unreadable

__all__ = [
    "ADDRESS", "KEY_VARIABLE", "KNOWN", "Busy", "Drawn", "Generator", "Halt", "ImagesEndpoint", "Refused", "Request",
    "Unanswered", "Undrawn", "Unreadable", "named_generator",
]  # fmt: skip


def _endpoint(model: str, options: dict, base_url: str, key_variable: str, **_: Any) -> Generator:
    return ImagesEndpoint(model, base_url, key_variable, fields=options)


def _diffusers(source: str, options: dict, device: str, batch_size: int, **_: Any) -> Generator:
    from .diffusers_pipeline import DiffusersPipeline

    return DiffusersPipeline(source, options, device, batch_size)


def _own(model: str, options: dict, device: str, batch_size: int, **_: Any) -> Generator:
    from .own_pipeline import OwnPipeline

    return OwnPipeline(model, options, device, batch_size)


# Prefix → what makes a generator of the model behind the colon.
KNOWN: dict[str, Callable[..., Generator]] = {"openai": _endpoint, "diffusers": _diffusers, "relationbooth": _own}


def named_generator(
    name: str,
    options: dict[str, Any] | None = None,
    base_url: str = ADDRESS,
    key_variable: str = KEY_VARIABLE,
    device: str = "auto",
    batch_size: int = 1,
) -> Generator:
    """The generator that a name means; nothing loads and nothing is sent.

    Args:
        name: "openai:MODEL", "diffusers:SOURCE", "relationbooth:MODEL", "miniature", or "module:Class", a `Generator`
            made as `Class(**options)`.
        options: of its pictures, see each class.
        base_url, key_variable: of endpoints. device, batch_size: of local models.
    Raises:
        ValueError: an unknown name, with those that are known; whatever the generator refuses.
    """
    name = "relationbooth:miniature" if name == "miniature" else name
    prefix, _, source = name.partition(":")
    if source and prefix in KNOWN:
        return KNOWN[prefix](
            source, options or {}, base_url=base_url, key_variable=key_variable, device=device, batch_size=batch_size
        )
    known = ", ".join(["`miniature`", *(f"`{kind}:MODEL`" for kind in KNOWN), "`module:Class`"])
    if not source or not prefix.replace(".", "").replace("_", "").isalnum():
        raise ValueError(f"`--generator` must be one of {known}, got {name!r}.")
    try:
        found = getattr(importlib.import_module(prefix), source)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`--generator` {name!r} is none that is known here ({error}). Known are {known}.") from error
    if not (isinstance(found, type) and issubclass(found, Generator)):
        raise ValueError(f"`{name}` must be a subclass of relationbooth_pipeline.triplets.generators.Generator.")
    if missing := sorted(found.__abstractmethods__):
        raise ValueError(f"`{name}` lacks {', '.join(missing)} of Generator. Write what is missing.")
    return found(**(options or {}))
