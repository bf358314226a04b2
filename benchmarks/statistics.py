"""Medians of paired ratios, their bootstrap intervals, and verdicts against bounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

import numpy as np
from tqdm import tqdm

RESAMPLES = 10_000  # the interval's ends then repeat to well under their own width
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median and the ends of its bootstrap interval; unit of the samples (dimensionless for ratios)."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def median_interval(samples: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Median and its percentile bootstrap interval: medians of samples drawn again with replacement.

    Args:
        samples: at least one number.
        resamples: draws of the bootstrap.
    Raises:
        ValueError: no samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise ValueError("a median needs at least one sample, got none. Measure at least one round.")
    chosen = np.random.default_rng(seed).integers(values.size, size=(resamples, values.size))
    tail = 50 * (1 - COVERAGE)
    low, high = np.percentile(np.median(values[chosen], axis=1), [tail, 100 - tail])
    return Interval(float(np.median(values)), float(low), float(high))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """Median over rounds of numerator / denominator. Both of a pair come from one round, so slow drift cancels.

    Args:
        numerators, denominators: times of the same rounds in the same order.
    Raises:
        ValueError: the numbers of rounds differ.
    """
    if len(numerators) != len(denominators):
        raise ValueError(f"a paired ratio needs the same rounds twice, got {len(numerators)} and {len(denominators)}.")
    return median_interval([a / b for a, b in zip(numerators, denominators)])


@dataclass(frozen=True)
class Verdict:
    """A ratio against an upper bound.

    The bound is missed only when the interval's lower end exceeds it: below that, noise may explain the median.
    """

    claim: str
    ratio: Interval
    bound: float

    @property
    def missed(self) -> bool:
        return self.ratio.low > self.bound

    @property
    def word(self) -> str:
        if self.missed:
            return "MISSED"
        return "met" if self.ratio.median <= self.bound else "not missed: the bound lies in the interval"

    def __str__(self) -> str:
        return f"{self.claim} ≤ {self.bound:g}: {self.ratio} → {self.word}"


def alternate(
    variants: dict[str, Callable[[], None]], rounds: int, clock: Callable[[Callable[[], None]], float], seed: int = 0
) -> dict[str, list[float]]:
    """Run every variant once a round, each round in a new random order, so that no variant always follows the same one.

    Args:
        variants: name → one run.
        rounds: how often each variant is timed.
        clock: seconds that one run takes.
    Returns:
        name → seconds, one per round.
    """
    order, random = list(variants), Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in tqdm(range(rounds), desc="rounds"):
        random.shuffle(order)
        for name in order:
            seconds[name].append(clock(variants[name]))
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and most, in seconds."""
    return {"median_s": median(seconds), "min_s": min(seconds), "max_s": max(seconds)}
