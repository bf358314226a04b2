"""A recorded case: its files, and the comparisons made with it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

SINGLE = 1e-5  # absolute, float32 on CPU: tokens, maps and single forwards
RELATIVE = 1e-6  # of the largest recorded value: vision states reach 25, where neighbouring float32 lie 2e-6 apart
LOOP = 1e-3  # final latents of guided loops, values up to about 20; other BLAS libraries differ this much


@dataclass
class Result:
    """One compared output."""

    name: str
    difference: float
    tolerance: float

    @property
    def missed(self) -> bool:
        return not self.difference <= self.tolerance  # NaN misses too


@dataclass
class Case:
    """Folder of one case: `config.json`, tensors, weights; results gather as outputs are compared."""

    folder: Path
    results: list[Result] = field(default_factory=list)

    def __post_init__(self):
        self.config = json.loads((self.folder / "config.json").read_text())
        data = self.folder / "data.safetensors"
        self.data = load_file(data) if data.is_file() else {}

    def weights(self, name: str = "weights") -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{name}.safetensors")

    def group(self, prefix: str, name: str = "weights") -> dict[str, torch.Tensor]:
        """Weights whose keys start with `prefix` and a dot, without it."""
        return {k[len(prefix) + 1 :]: v for k, v in self.weights(name).items() if k.startswith(f"{prefix}.")}

    def compare(self, name: str, value: torch.Tensor, tolerance: float = SINGLE, expected=None) -> None:
        expected = self.data[name] if expected is None else expected
        if value.shape != expected.shape:
            raise AssertionError(f"{name}: shape {tuple(value.shape)}, recorded {tuple(expected.shape)}")
        if tolerance:
            tolerance += RELATIVE * expected.abs().max().item()
        difference = (value.double() - expected.double()).abs().max().item() if value.numel() else 0.0
        self.results.append(Result(name, difference, tolerance))

    def compare_exactly(self, name: str, value, expected) -> None:
        self.results.append(Result(name, 0.0 if value == expected else float("inf"), 0.0))


def pixels(recorded: torch.Tensor) -> torch.Tensor:
    """Network input of a recorded uint8 image: u/128 − 1."""
    return recorded.float() / 128 - 1
