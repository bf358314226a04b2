"""Which sample, view and noise every step reads: a function of seed and step alone.

So a resumed run repeats an unbroken one without any saved sampler state, and several processes together read just what
one process with a larger batch reads.
"""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Draw:
    """One sample of a batch: which item, which of its views, and the seed of its noise and timestep."""

    item: int
    view: int
    seed: int


class BatchOrder:
    """Batches of one size each, every item about equally often.

    An epoch visits every item once; a bucket's last batch is filled up from its front.

    Args:
        sizes: size (any hashable) of each item; only items of one size share a batch.
        views: how many views each item has.
        batch_size: samples of one optimizer step, over all processes and accumulated batches.
        seed: of order, views and noise.
    """

    def __init__(self, sizes: list[Hashable], views: int, batch_size: int, seed: int):
        if not sizes or views < 1 or batch_size < 1:
            raise ValueError(
                "an order of batches needs items, views ≥ 1 and `batch_size` ≥ 1, got "
                f"{len(sizes)}, {views} and {batch_size}."
            )
        self.views, self.batch_size, self.seed = views, batch_size, seed
        self._drawn: tuple[int, list[list[int]]] | None = None  # the latest epoch: drawing many items takes its time
        self.buckets: dict[Hashable, list[int]] = {}
        for item, size in enumerate(sizes):
            self.buckets.setdefault(size, []).append(item)

    @property
    def steps_per_epoch(self) -> int:
        return sum(-(-len(items) // self.batch_size) for items in self.buckets.values())

    def batch(self, step: int) -> list[Draw]:
        """`batch_size` draws of optimizer step `step`, counted from 0."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._epoch(epoch)
        items = self._drawn[1][index]
        rng = random.Random(f"draws {self.seed} {step}")
        return [Draw(item, rng.randrange(self.views), rng.getrandbits(62)) for item in items]

    def _epoch(self, epoch: int) -> list[list[int]]:
        rng, batches = random.Random(f"epoch {self.seed} {epoch}"), []
        for items in self.buckets.values():
            order = rng.sample(items, len(items))
            count = -(-len(order) // self.batch_size) * self.batch_size
            filled = [order[i % len(order)] for i in range(count)]
            batches += [filled[i : i + self.batch_size] for i in range(0, count, self.batch_size)]
        rng.shuffle(batches)
        return batches


def noise_and_timesteps(
    draws: list[Draw], shape: Sequence[int], timesteps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, the posterior's noise, (B, *shape) each, and timesteps, int (B,); each row from its own draw's seed."""
    rows = []
    for draw in draws:
        generator = torch.Generator().manual_seed(draw.seed)
        noise, posterior = (torch.randn(shape, generator=generator) for _ in range(2))
        rows.append((noise, posterior, torch.randint(timesteps, (), generator=generator)))
    return tuple(torch.stack(column) for column in zip(*rows))
