"""An endpoint that misbehaves: no request is paid twice, none is lost, every outcome is in the ledger."""

import errno
import json
import time
from concurrent.futures import wait

import pytest

from relationbooth_pipeline.triplets.engine import WorkFolder, asking
from relationbooth_pipeline.triplets.engine.asking import Manners
from relationbooth_pipeline.triplets.engine.budget import Caps

from .drawn_plan import NEEDS_OPENAI, contents, making, run, small_plan
from .mock_endpoint import MockEndpoint

pytestmark = NEEDS_OPENAI


@pytest.fixture
def mock():
    endpoint = MockEndpoint(knows_keys=False)
    yield endpoint
    endpoint.close()


@pytest.fixture
def work(tmp_path):
    return WorkFolder(tmp_path / "work")


def lines(work):
    return [json.loads(line) for line in (work.root / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]


def outcomes(work):
    """Code or "done" of each request's last line, how often each."""
    last = {line["key"]: line for line in lines(work)}
    found = [line.get("code") or line["status"] for line in last.values()]
    return {name: found.count(name) for name in found}


def counted(work):
    """Pictures that the ledger counts: outcomes, and what was sent and has none."""
    total, open_requests = 0, {}
    for line in lines(work):
        if line["status"] == "sent":
            total += open_requests.pop(line["key"], 0)
            open_requests[line["key"]] = 1
        elif line["status"] != "reserved":
            open_requests.pop(line["key"], None)
            total += line["images"]
    return total + sum(open_requests.values())


def test_a_whole_plan_is_drawn_once(mock, work):
    found = run(work, making(mock.address))
    assert len(found) == 10 and len(mock.asked) == 30 == sum(mock.paid.values()) == counted(work)
    assert outcomes(work) == {"done": 30}
    before = contents(work)
    assert run(work, making(mock.address)) == found
    assert len(mock.asked) == 30 and contents(work) == before
    target = work.provenance(found[0].target)
    assert target["prompt"] == "a cat is hugging a bear in a meadow" and target["request_id"].startswith("req-")
    alone = work.provenance(found[0].objects[1])
    assert alone["prompt"].startswith("The photo of the same bear") and "meadow" not in alone["prompt"]
    assert work.provenance(alone["parents"][0])["parents"][0] == found[0].target
    paths = {path for path, *_ in mock.asked}
    assert paths == {"/v1/images/generations", "/v1/images/edits"}


def test_too_many_is_waited_for_by_everybody(mock, work):
    mock.script["*"] = [("busy", 0.3)]
    begin = time.monotonic()
    run(work, making(mock.address, plan=small_plan(count=2), manners=Manners(4, 1000, tries=3)))
    assert time.monotonic() - begin > 0.3
    assert len(mock.asked) == 13 and sum(mock.paid.values()) == 12 == counted(work)
    assert outcomes(work) == {"done": 12}


@pytest.mark.parametrize("kind", ["down", "busy", "denied", "quota"])
def test_an_endpoint_that_says_no_to_everybody_is_left_alone_and_asked_again_later(mock, work, kind):
    mock.script["*"] = [kind] * 200
    if kind == "down":  # one request's trouble is not everybody's
        run(work, making(mock.address))
    else:
        with pytest.raises(ValueError, match="lets nobody go on .*nothing is paid twice"):
            run(work, making(mock.address))
        assert len(mock.asked) <= 4 * 3  # workers × tries
    assert counted(work) == 0 and not mock.paid
    mock.script.clear()
    run(work, making(mock.address))
    assert sum(mock.paid.values()) == 30 == counted(work) and outcomes(work) == {"done": 30}


def test_a_moderator_s_no_is_final_and_unpaid(mock, work):
    mock.script["a fox is hugging an owl at night"] = ["moderation"]
    for _ in range(2):
        found = run(work, making(mock.address))
        assert len(found) == 9 and len(mock.asked) == 10 + 9 * 2
    assert outcomes(work) == {"moderation_blocked": 1, "done": 27} and counted(work) == 27
    again = making(mock.address, manners=Manners(4, 100_000, again=True))
    assert len(run(work, again)) == 10 and counted(work) == 30


@pytest.mark.parametrize("kind", ["broken_json", "truncated", ("slow_body", 0.3), "cut_body"])
def test_a_broken_answer_is_paid_for_and_asked_again_only_when_told(mock, work, kind):
    mock.script["a cat is hugging a bear in a meadow"] = [kind]
    for _ in range(2):
        assert len(run(work, making(mock.address, timeout=0.5))) == 9
        assert sum(mock.paid.values()) == 28 == counted(work) and len(mock.asked) == 28
    again = making(mock.address, manners=Manners(4, 100_000, again=True))
    assert len(run(work, again)) == 10
    assert sum(mock.paid.values()) == 31 == counted(work)
    keys = [headers["idempotency-key"] for _, prompt, headers, _ in mock.asked if prompt in mock.script]
    assert keys[1] == f"{keys[0]}-1"  # a server that knows keys is not asked for its old answer


def test_what_is_sent_again_and_killed_is_asked_for_in_the_next_run_under_its_new_key(mock, work):
    mock.script["a cat is hugging a bear in a meadow"] = ["broken_json", "dies_after"]
    run(work, making(mock.address))
    run(work, making(mock.address, manners=Manners(4, 100_000, again=True)))
    ledger = work.root / "ledger.jsonl"
    texts = ledger.read_text(encoding="utf-8").splitlines(keepends=True)
    ledger.write_text("".join(texts[:-1]), encoding="utf-8")  # killed before the outcome of what was sent again
    assert lines(work)[-1]["status"] == "sent" and json.loads(texts[-1])["status"] == "failed"
    assert len(run(work, making(mock.address))) == 10
    keys = [headers["idempotency-key"] for _, prompt, headers, _ in mock.asked if prompt in mock.script]
    assert keys == [keys[0], f"{keys[0]}-1", f"{keys[0]}-1"]


@pytest.mark.parametrize("kind", ["broken_json", "dies_after", "address"])
def test_an_endpoint_whose_answers_give_nothing_is_not_paid_further(mock, work, kind):
    mock.script["*"] = [kind] * 100
    with pytest.raises(ValueError, match="lets nobody go on .*3 requests in a row gave nothing that can be read"):
        run(work, making(mock.address))
    assert 3 <= len(mock.asked) == counted(work) <= 3 + 3  # those under way came to their end


@pytest.mark.parametrize("kind", ["dies", "dies_after", "gateway"])
def test_an_answer_that_never_came_counts_and_is_asked_for_in_the_next_run(mock, work, kind):
    mock.script["a cat is hugging a bear in a meadow"] = [kind]
    said = []
    assert len(run(work, making(mock.address))) == 9
    assert len(mock.asked) == 28 == counted(work)
    assert len(run(work, making(mock.address), said.append)) == 10
    assert len(mock.asked) == 31 == counted(work) >= sum(mock.paid.values())
    assert any("1 sent again, since no answer to them was kept" in sentence for sentence in said)
    keys = [headers["idempotency-key"] for _, prompt, headers, _ in mock.asked if prompt in mock.script]
    assert len(keys) == 2 and keys[0] == keys[1]  # a server that knows keys does not draw it again


def test_what_was_lost_is_sent_again_only_within_the_caps(mock, work):
    mock.script["a cat is hugging a bear in a meadow"] = ["dies_after"]
    caps, said = Caps(max_cost=1.2, price=0.04), []
    run(work, making(mock.address, caps=caps))  # 27 + 1 lost
    run(work, making(mock.address, caps=caps), said.append)  # 2 are left for 3
    assert counted(work) == 30 == sum(mock.paid.values())
    assert any("1 left out by the caps" in sentence for sentence in said)
    spent = sum(line["cost"] for line in lines(work) if line["status"] not in ("sent", "reserved"))
    assert spent == pytest.approx(1.2)


def test_a_long_wait_is_a_stop_unless_told_otherwise(mock, work):
    mock.script["*"] = [("busy", 3000)]
    with pytest.raises(ValueError, match="long_wait: it asks to wait 3000 s .`--on-long-wait wait` does."):
        run(work, making(mock.address))
    assert counted(work) <= 3 and not [line for line in lines(work) if line.get("code") == "long_wait"]


def test_what_a_full_disk_swallowed_counts(mock, work, monkeypatch):
    keep, left = WorkFolder.keep_picture, [5]

    def full(self, image, provenance):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return keep(self, image, provenance)

    monkeypatch.setattr(WorkFolder, "keep_picture", full)
    monkeypatch.setattr(asking, "as_completed", lambda futures: wait(futures).done)  # gathers late, as a busy machine
    with pytest.raises(OSError, match="No space left on device"):
        run(work, making(mock.address))
    assert 6 <= sum(mock.paid.values()) == counted(work) < 10  # those under way, and no others
    monkeypatch.undo()
    assert len(run(work, making(mock.address))) == 10
    assert outcomes(work) == {"done": 30} and counted(work) == sum(mock.paid.values())


def test_an_object_that_is_not_found_is_not_paid_for(mock, work):
    assert len(run(work, making(mock.address), misses=("hugging-0003",))) == 9
    assert len(mock.asked) == 10 + 9 * 2
