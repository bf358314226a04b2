"""Which weights a model that reads pictures has, and whether it is of the kind that is needed."""

from collections.abc import Sequence
from typing import Any

import torch

from ..digests import named_source


def check_kind(source: str, kinds: Sequence[str], metric: str) -> None:
    """Raise a ValueError unless the model's config says that it is of one of `kinds`; no weights load."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source)
    except Exception as error:  # the Hub's client and transformers raise a dozen kinds; the cause is kept
        raise ValueError(
            f"`{metric}`: the model `{source}` has no readable config ({type(error).__name__}: {error}). Check the "
            "name, and the network or the cache."
        ) from error
    if config.model_type not in kinds:
        raise ValueError(
            f"`{metric}` needs a model of kind {' or '.join(kinds)}, but `{source}` is {config.model_type}."
        )


def checkpoint_name(source: str, model: torch.nn.Module) -> str:
    """The checkpoint with its commit on the Hub, or a digest of a local folder's weights."""
    return _named(source, model.config)


def checkpoint_of(source: str) -> str:
    """`checkpoint_name` told by the config alone, before any weights load."""
    from transformers import AutoConfig

    return _named(source, AutoConfig.from_pretrained(source))


def _named(source: str, config: Any) -> str:
    commit = getattr(config, "_commit_hash", None)
    if commit:
        return f"{source}@{commit[:12]}"
    return named_source(source)
