"""Batches are shuffled, views vary, epochs differ; results are moved whole; checkpoints reach the disk in order."""

import os
import shutil
from collections import Counter

import pytest
import torch

from training.common import checkpoints
from training.common.batch_order import BatchOrder, Draw, noise_and_timesteps
from training.common.checkpoints import Checkpoints, move_into


def epochs(order, count):
    """Items of each epoch's batches, in order."""
    steps = order.steps_per_epoch
    return [[tuple(d.item for d in order.batch(e * steps + s)) for s in range(steps)] for e in range(count)]


def test_every_epoch_has_an_order_of_its_own():
    """Each of six items is as likely in each place; the listed order is one of 720."""
    drawn = [[item for batch in epoch for item in batch] for epoch in epochs(BatchOrder(["a"] * 6, 1, 2, 0), 600)]
    assert len({tuple(epoch) for epoch in drawn}) > 350 and all(sorted(epoch) == list(range(6)) for epoch in drawn)
    for place in range(6):
        counts = Counter(epoch[place] for epoch in drawn)
        assert len(counts) == 6 and 60 < min(counts.values()) and max(counts.values()) < 140


def test_batches_of_several_sizes_are_mixed():
    """Not first all of one size, then all of the other."""
    order = BatchOrder(["a"] * 4 + ["b"] * 4, views=1, batch_size=2, seed=0)
    first = Counter(epoch[0][0] < 4 for epoch in epochs(order, 200))
    assert 60 < first[True] < 140


def test_a_bucket_s_last_batch_is_filled_from_its_front():
    for epoch in epochs(BatchOrder(["a"] * 5, views=1, batch_size=2, seed=0), 20):
        counts = Counter(item for batch in epoch for item in batch)
        assert [len(batch) for batch in epoch] == [2, 2, 2]
        assert sorted(counts.values()) == [1, 1, 1, 1, 2] and all(len(set(batch)) == 2 for batch in epoch)


def test_views_and_seeds_vary():
    order = BatchOrder(["a"] * 4, views=5, batch_size=4, seed=0)
    draws = [draw for step in range(250) for draw in order.batch(step)]
    views = Counter(draw.view for draw in draws)
    assert sorted(views) == [0, 1, 2, 3, 4] and 150 < min(views.values()) and max(views.values()) < 250
    assert len({draw.seed for draw in draws}) == len(draws)


def test_noise_the_posterior_s_noise_and_timesteps_are_three_draws():
    noise, posterior, timesteps = noise_and_timesteps([Draw(0, 0, seed) for seed in range(400)], (4, 2, 2), 1000)
    for values in (noise, posterior):
        assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05
    assert abs((noise * posterior).mean()) < 0.05 and not torch.equal(noise[0], noise[1])
    assert timesteps.min() < 20 and timesteps.max() > 980 and abs(timesteps.float().mean() - 499.5) < 50


def test_what_makes_a_result_loadable_goes_first_and_comes_last(tmp_path, monkeypatch):
    """At no moment lies the named file beside files of another result."""
    folder, fresh = tmp_path / "result", tmp_path / "fresh"
    for place, text in ((folder, "old"), (fresh, "new")):
        (place / "encoder").mkdir(parents=True)
        for name in ("adapter.safetensors", "card.md", "encoder/weights"):
            (place / name).write_text(text)
    moved, replace, remove = [], os.replace, shutil.rmtree

    def is_mixed():
        texts = {path.read_text() for path in folder.rglob("*") if path.is_file()}
        return (folder / "adapter.safetensors").exists() and len(texts) > 1

    def watched_replace(source, target):
        assert not (folder / "adapter.safetensors").exists()
        replace(source, target)
        moved.append(target.name)
        assert not is_mixed()

    def watched_remove(path):
        assert not (folder / "adapter.safetensors").exists()
        remove(path)

    monkeypatch.setattr(checkpoints.os, "replace", watched_replace)
    monkeypatch.setattr(checkpoints.shutil, "rmtree", watched_remove)
    flushed = []
    monkeypatch.setattr(checkpoints, "flush", lambda path: flushed.append((path.name, len(moved))))
    move_into(folder, fresh, "adapter.safetensors")
    assert moved == ["card.md", "encoder", "adapter.safetensors"]
    assert {path.read_text() for path in folder.rglob("*") if path.is_file()} == {"new"}
    written = {"adapter.safetensors", "card.md", "encoder", "weights", "fresh"}
    assert {name for name, before in flushed if before == 0} == written and flushed[-1] == ("result", 3)


@pytest.mark.parametrize("again", [False, True])
def test_a_checkpoint_s_data_reaches_the_disk_before_its_name_and_old_ones_go_last(tmp_path, monkeypatch, again):
    """Also when the same step is saved again: the folder's old state goes only when the new one is complete."""
    run = Checkpoints(tmp_path, total_limit=1)
    for step in (1, 2) if again else (1,):
        (run.begin(step) / "weights").write_text(f"old {step}")
        run.finish(step)
    events, replace, remove = [], os.replace, shutil.rmtree
    monkeypatch.setattr(checkpoints, "flush", lambda path: events.append(("flush", path.name)))
    monkeypatch.setattr(checkpoints.os, "replace", lambda a, b: (events.append(("rename", b.name)), replace(a, b))[1])
    monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda path: (events.append(("remove", path.name)), remove(path)))
    (run.begin(2) / "weights").write_text("new")
    run.finish(2)
    flushes = [("flush", name) for name in ("weights", "manifest.json", ".checkpoint-2")]
    assert events[:3] == flushes and run.steps() == [2]
    rest = [("rename", "checkpoint-2"), ("flush", tmp_path.name)]
    assert events[3:] == ([("remove", "checkpoint-2"), *rest] if again else [*rest, ("remove", "checkpoint-1")])
    assert (run.path(2) / "weights").read_text() == "new" and run.faults(2) == []
