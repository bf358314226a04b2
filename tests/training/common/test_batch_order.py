from collections import Counter

import pytest
import torch

from training.common.batch_order import BatchOrder, noise_and_timesteps


def test_an_epoch_visits_every_item():
    order = BatchOrder(["a"] * 5 + ["b"] * 3, views=2, batch_size=2, seed=0)
    assert order.steps_per_epoch == 5
    for epoch in range(3):
        steps = range(epoch * 5, epoch * 5 + 5)
        seen = Counter(draw.item for step in steps for draw in order.batch(step))
        assert set(seen) == set(range(8)) and max(seen.values()) == 2


def test_batches_are_of_one_size():
    sizes = ["a", "b", "a", "b", "b"]
    order = BatchOrder(sizes, views=1, batch_size=4, seed=3)
    for step in range(8):
        assert len({sizes[draw.item] for draw in order.batch(step)}) == 1


def test_a_step_depends_on_seed_and_step_alone():
    def make(seed):
        return BatchOrder(["a"] * 6, views=4, batch_size=3, seed=seed)

    assert [make(1).batch(step) for step in range(9)] == [make(1).batch(step) for step in range(9)]
    assert make(1).batch(7) != make(2).batch(7) and make(1).batch(7) != make(1).batch(8)


def test_noise_of_a_draw_does_not_depend_on_its_batch():
    draws = BatchOrder(["a"] * 6, views=1, batch_size=6, seed=0).batch(0)
    whole = noise_and_timesteps(draws, (4, 3, 2), 1000)
    halves = [noise_and_timesteps(draws[i : i + 3], (4, 3, 2), 1000) for i in (0, 3)]
    for together, first, second in zip(whole, *halves):
        assert torch.equal(together, torch.cat([first, second]))
    assert whole[2].min() >= 0 and whole[2].max() < 1000 and len(set(whole[2].tolist())) > 1


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="got 0, 1 and 1"):
        BatchOrder([], views=1, batch_size=1, seed=0)
