"""Means and paired differences over cases, with bootstrap intervals: pictures of a case are averaged first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
COVERAGE = 0.95
CHUNK = 1_000  # resamples at once: 10,000 × 2,000 cases would take 160 MB


@dataclass(frozen=True)
class Interval:
    """A mean over cases and the ends of its interval; the figure's unit.

    Attributes:
        cases: number that it is the mean of.
    """

    mean: float
    low: float
    high: float
    cases: int

    def text(self, digits: int = 2) -> str:
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def mean_interval(values: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean of per-case values and its percentile bootstrap interval: cases are drawn again with replacement.

    Resampling pictures instead would be too narrow: pictures of a case resemble one another.

    Raises:
        ValueError: no value.
    """
    values = np.asarray(values, dtype=float)
    if not values.size:
        raise ValueError("a mean needs at least one case, got none.")
    rng, means = np.random.default_rng(seed), []
    for start in range(0, resamples, CHUNK):
        draws = rng.integers(0, values.size, (min(CHUNK, resamples - start), values.size))
        means.append(values[draws].mean(1))
    tail = 50 * (1 - COVERAGE)
    low, high = np.percentile(np.concatenate(means), (tail, 100 - tail))
    return Interval(float(values.mean()), float(low), float(high), values.size)


def case_means(pictures: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Case → mean over its pictures that have a figure; cases without any are left out."""
    kept = {case: [v for v in values if v is not None] for case, values in pictures.items()}
    return {case: float(np.mean(values)) for case, values in kept.items() if values}


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Mean of first − second over the cases that both have; None when there is none."""
    shared = sorted(first.keys() & second.keys())
    return mean_interval([first[case] - second[case] for case in shared], resamples, seed) if shared else None


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Probability that a right picture has a larger figure than a wrong one; ties count half.

    Raises:
        ValueError: one of the two is empty.
    """
    if not len(right) or not len(wrong):
        raise ValueError(f"an AUC needs pictures of both kinds, got {len(right)} right and {len(wrong)} wrong.")
    right, wrong = np.asarray(right, float), np.asarray(wrong, float)
    order = np.sort(wrong)
    below, upto = np.searchsorted(order, right, "left"), np.searchsorted(order, right, "right")
    return float((below + upto).sum() / (2 * right.size * wrong.size))
