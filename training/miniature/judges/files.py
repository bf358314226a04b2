"""Trained networks as they ship: half precision, their vocabulary in the file's own header."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from relationbooth_pipeline.relation_files import whole_file


def save_network(network: nn.Module, vocabulary: dict, path: Path) -> None:
    """Write `path`, whole: float16 weights; `vocabulary`, JSON-ready, with digits enough for figures.

    Raises:
        RuntimeError: a weight leaves float16's range.
    """
    weights = {name: weight.detach().cpu().half().contiguous() for name, weight in network.state_dict().items()}
    bad = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
    if bad:
        raise RuntimeError(f"{path.name}: weights beyond float16's range: {', '.join(bad[:3])}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        save_file(weights, temporary, {"vocabulary": json.dumps(vocabulary)})
