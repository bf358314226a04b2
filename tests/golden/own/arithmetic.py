"""Arithmetic of the references: numpy in float64, one position, head or pixel at a time."""

import math

import numpy as np

Array = np.ndarray


class Draws:
    """Random float32 arrays of one seed; everything is computed in float64 from these rounded values."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int, std: float = 1.0) -> Array:
        return (self.rng.standard_normal(shape) * std).astype(np.float32)

    def linear(self, outputs: int, inputs: int) -> Array:
        return self.normal(outputs, inputs, std=inputs**-0.5)

    def norm(self, width: int) -> tuple[Array, Array]:
        """Weight and bias of a layer norm, away from one and zero."""
        return (1 + self.normal(width, std=0.2)).astype(np.float32), self.normal(width, std=0.2)


def wide(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    rows = [(row - row.mean()) / math.sqrt(((row - row.mean()) ** 2).mean() + 1e-5) for row in x]
    return np.array(rows) * weight + bias


def gelu(x: Array) -> Array:
    """Exact: x·Φ(x)."""
    return np.vectorize(lambda value: value * 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


def softmax(scores: Array) -> Array:
    """Over the last of two axes."""
    rows = [np.exp(row - row.max()) for row in scores]
    return np.array([row / row.sum() for row in rows])


def probabilities(query: Array, key: Array, heads: int, bias: Array | None = None) -> list[Array]:
    """softmax(QKᵀ/√d + bias) of each head, (P, T); query (P, H·d), key (T, H·d)."""
    found = []
    for q, k in zip(np.split(query, heads, axis=1), np.split(key, heads, axis=1)):
        scores = q @ k.T / math.sqrt(q.shape[1])
        found.append(softmax(scores if bias is None else scores + bias))
    return found


def mixed(weights: list[Array], value: Array) -> Array:
    """Values weighted head by head, (P, H·d)."""
    return np.concatenate([w @ v for w, v in zip(weights, np.split(value, len(weights), axis=1))], axis=1)
