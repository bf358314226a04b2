"""How the page refuses: after the body, so that who sends a large file is told why."""

import asyncio

import pytest

from relationbooth_pipeline.app import guards
from relationbooth_pipeline.app.guards import ReadBeforeRefusing

PARTS = [{"type": "http.request", "body": b"x", "more_body": more} for more in (True, True, False)]


def exchange(messages, status=413, headers=(), reads=0):
    """What a server sees while a page answers with `status` after `reads` messages: "part" and "answer", in order."""
    waiting, seen = iter(messages), []

    async def page(scope, receive, send):
        for _ in range(reads):
            await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def receive():
        message = next(waiting, None)
        if message is None:
            await asyncio.Event().wait()  # a client that sends nothing more
        seen.append("part")
        return message

    async def send(message):
        seen.append("answer")

    scope = {"type": "http", "headers": list(headers)}
    asyncio.run(asyncio.wait_for(ReadBeforeRefusing(page)(scope, receive, send), 5))
    return seen


@pytest.mark.parametrize("reads", [0, 1, 3])
def test_a_refused_body_is_read_to_its_end_before_the_refusal(reads):
    assert exchange(PARTS, reads=reads) == ["part"] * 3 + ["answer"]


def test_what_is_not_refused_is_left_to_the_page():
    assert exchange(PARTS, status=200, reads=1) == ["part", "answer"]


def test_a_client_that_waits_for_the_answer_is_answered_at_once():
    assert exchange(PARTS, headers=[(b"expect", b"100-continue")]) == ["answer"]


def test_a_client_that_leaves_ends_the_reading():
    assert exchange([PARTS[0], {"type": "http.disconnect"}]) == ["part", "part", "answer"]


def test_a_body_without_end_is_refused_all_the_same(monkeypatch):
    monkeypatch.setattr(guards, "LINGER", 0.05)
    assert exchange(PARTS[:2]) == ["part", "part", "answer"]
