"""Ledger, budget and pace: what is counted, what may be spent, how fast."""

import json
import os

import pytest

from relationbooth_pipeline.parallel import Share
from relationbooth_pipeline.triplets.engine.budget import Budget, Caps
from relationbooth_pipeline.triplets.engine.drawing import check_room
from relationbooth_pipeline.triplets.engine.ledger import Ledger
from relationbooth_pipeline.triplets.engine.token_bucket import TokenBucket


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_what_was_sent_without_an_outcome_counts_as_spent(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("reserved", "k", "a-0", 1, 0.5)
    assert ledger.spent(["a-0"]) == (0, 0.0)
    ledger.write("sent", "k", "a-0", 1, 0.5)
    assert ledger.spent(["a-0"]) == (1, 0.5) and ledger.account("k").is_lost
    again = Ledger(tmp_path)  # another process
    again.write("sent", "k", "a-0", 1, 0.5)
    again.write("failed", "k", "a-0", 0, 0.0, code="busy")
    assert again.spent(["a-0"]) == (1, 0.5) and not again.account("k").open_images
    again.write("sent", "k", "a-0", 1, 0.5)
    again.write("done", "k", "a-0", 1, 0.5, picture="p")
    assert Ledger(tmp_path).spent(["a-0", "other"]) == (2, 1.0) and Ledger(tmp_path).spent(["other"]) == (0, 0.0)
    account = Ledger(tmp_path).account("k")
    assert (account.picture, account.attempts, account.is_lost) == ("p", 3, False)


def test_shards_write_ledgers_of_their_own_and_read_all(tmp_path):
    first, second = (Ledger(tmp_path, Share(i, 2)) for i in range(2))
    first.write("done", "k", "a-0", 1, 0.1, picture="p")
    second.write("done", "l", "a-1", 1, 0.1, picture="q")
    whole = Ledger(tmp_path)
    assert {key: account.picture for key, account in whole.accounts.items()} == {"k": "p", "l": "q"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ledger-0-of-2.jsonl", "ledger-1-of-2.jsonl"]


def test_lines_hold_in_the_order_of_their_times_whatever_the_number_of_shards_was(tmp_path):
    """What a run of one wrote comes first by its file's name, and what a run of two did before comes after."""

    def line(second, status, **more):
        time = f"2025-01-01T00:00:{second:02}.000+00:00"
        return {"time": time, "status": status, "key": "k", "candidate": "a-0", "images": 1, "cost": 0.1, **more}

    def written(name, *lines):
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")

    written("ledger-1-of-2.jsonl", line(3, "sent"), line(4, "done", picture="p"))
    written("ledger.jsonl", line(1, "sent"), line(2, "failed", final=True))
    account = Ledger(tmp_path).account("k")
    assert (account.status, account.picture, account.is_final, account.images) == ("done", "p", False, 2)
    written("ledger-0-of-3.jsonl", line(5, "failed", final=True))  # of a machine whose clock is fast
    assert Ledger(tmp_path).account("k").picture == "p"
    written("ledger-0-of-3.jsonl", line(9, "sent"), line(8, "failed", final=True))  # its clock was set back
    assert Ledger(tmp_path).account("k").is_final


def test_what_is_sent_again_though_it_had_ended_for_good_is_open_until_its_outcome(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("sent", "k", "a-0", 1, 0.1)
    ledger.write("failed", "k", "a-0", 1, 0.1, final=True)
    assert ledger.account("k").is_final
    ledger.write("sent", "k", "a-0", 1, 0.1)  # `--again`, and killed
    account = Ledger(tmp_path).account("k")
    assert account.is_lost and not account.is_final and (account.attempts, account.ended) == (2, 1)


def test_a_damaged_ledger_stops_everything_and_a_torn_end_does_not(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("done", "k", "a-0", 1, 0.1, picture="p")
    with ledger.path.open("ab") as file:
        file.write(b'{"key": "l", "sta')
    found = Ledger(tmp_path)
    assert found.torn == '{"key": "l", "sta' and set(found.accounts) == {"k"}
    assert ledger.path.read_bytes().endswith(b"sta")  # looking changes nothing
    found.write("done", "m", "a-1", 1, 0.1, picture="q")
    ledger.path.write_bytes(ledger.path.read_bytes().removesuffix(b"\n"))  # as an editor may leave it: nothing is lost
    assert set(Ledger(tmp_path).accounts) == {"k", "m"}
    Ledger(tmp_path).write("done", "n", "a-2", 1, 0.1, picture="r")
    assert [json.loads(line)["key"] for line in ledger.path.read_text(encoding="utf-8").splitlines()] == ["k", "m", "n"]
    ledger.path.write_text('{"key": 3}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="`ledger.jsonl`, line 1, is no line of a ledger"):
        Ledger(tmp_path)


def test_a_line_of_which_a_full_disk_took_a_part_is_taken_back(tmp_path, monkeypatch):
    ledger, write = Ledger(tmp_path), os.write
    ledger.write("sent", "k", "a-0", 1, 0.1)
    before = ledger.path.read_bytes()
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, data: write(handle, data[:20]))
        with pytest.raises(OSError, match="No space left"):
            ledger.write("done", "k", "a-0", 1, 0.1, picture="p")
    assert ledger.path.read_bytes() == before
    ledger.write("done", "k", "a-0", 1, 0.1, picture="q")  # another thread, which found room again
    found = Ledger(tmp_path)
    assert found.torn is None and (found.account("k").picture, found.account("k").attempts) == ("q", 1)


def test_nothing_is_reserved_beyond_the_caps():
    budget = Budget(Caps(max_images=3, max_cost=1.0, price=0.4), images=0, cost=0.0)
    assert budget.reserve(0.4) and budget.reserve(0.4) and not budget.reserve(0.4)  # 1.2 > 1.0
    budget.settle(0.4, 0, 0.0)  # refused: costs nothing
    assert budget.reserve(0.4) and not budget.reserve(0.4)
    budget.settle(0.4, 1, 0.4)
    budget.settle(0.4, 1, 0.4)
    assert (budget.images, budget.cost) == (2, 0.8) and not budget.reserve(0.4) and budget.reserve(0.0)
    assert not budget.reserve(0.0)  # three pictures


def test_parts_of_the_caps_stay_within_the_whole_and_fit_their_plans():
    caps = Caps(max_images=31, max_cost=1.24, price=0.04)
    parts = [caps.shared(own, 10) for own in (4, 3, 3)]
    assert sum(part.max_images for part in parts) <= 31 and sum(part.max_cost for part in parts) == pytest.approx(1.24)
    for part, own in zip(parts, (4, 3, 3)):
        part.check_bound(3 * own, 3 * own)


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        ({"max_cost": 1.0}, "`--max-cost` needs `--price`"),
        ({"max_images": -1}, "`--max-images` must be 0 or more"),
        ({"price": float("nan")}, "`--price` must be 0 or more"),
    ],
)
def test_what_caps_refuse(caps, message):
    with pytest.raises(ValueError, match=message):
        Caps(**caps)


def test_a_plan_over_the_caps_is_refused():
    with pytest.raises(ValueError, match="up to 30 pictures, `--max-images` allows 29.*nothing was sent"):
        Caps(max_images=29).check_bound(30, 30)
    with pytest.raises(ValueError, match=r"costs up to 1.20 \(30 × 0.04\), `--max-cost` allows 1.19"):
        Caps(max_cost=1.19, price=0.04).check_bound(30, 30)
    Caps(max_cost=1.2, price=0.04).check_bound(30, 30)
    Caps(max_cost=0.1, price=0.04).check_bound(30, 0)  # a local model's


def test_a_full_disk_is_seen_before_anything_is_sent(tmp_path, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=70 * 2**20))
    work, task = SimpleNamespace(root=tmp_path), SimpleNamespace(size=(1024, 1024))
    check_room(work, [task] * 2)
    with pytest.raises(ValueError, match="70 MiB left, and 3 pictures may take 73 MiB. Make room; nothing was sent"):
        check_room(work, [task] * 3)


def test_tokens_come_at_the_pace_and_a_burst_waits():
    clock = Clock()
    bucket = TokenBucket(60, burst=2, clock=clock)
    assert [bucket.take(), bucket.take()] == [True, True] and bucket._wait() == pytest.approx(1.0)
    clock.now = 0.25
    assert bucket._wait() == pytest.approx(0.75)
    clock.now = 100.0
    assert [bucket.take(), bucket.take()] == [True, True] and bucket._wait() == pytest.approx(1.0)


def test_too_many_closes_the_bucket_and_halves_the_pace_for_everybody():
    clock = Clock()
    bucket = TokenBucket(60, burst=4, clock=clock)
    bucket.close(30, slow_down=True)
    assert bucket._wait() == pytest.approx(30) and bucket.per_minute == 30
    clock.now = 30.0
    assert bucket.take() and bucket._wait() == pytest.approx(2.0)  # one was left, none came meanwhile
    bucket.close(1, slow_down=False)
    assert bucket.per_minute == 30
    for _ in range(20):
        bucket.answered()
    assert bucket.per_minute == 60
    bucket.stop()
    assert bucket.take() is False
