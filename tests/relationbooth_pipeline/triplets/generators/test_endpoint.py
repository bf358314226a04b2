"""What goes to an endpoint, and what its answers mean."""

import io
import time

import pytest

from relationbooth_pipeline.triplets.generators import (
    Busy,
    Drawn,
    Halt,
    ImagesEndpoint,
    Refused,
    Request,
    Unanswered,
    Unreadable,
)
from relationbooth_pipeline.triplets.generators.answers import retry_after
from tests.tiny import photo

from ..engine.drawn_plan import NEEDS_OPENAI
from ..engine.mock_endpoint import MockEndpoint, picture_for

KEY = "sk-sentinel0123456789"


@pytest.fixture
def mock():
    endpoint = MockEndpoint()
    yield endpoint
    endpoint.close()


@NEEDS_OPENAI
def test_sentences_and_pictures_arrive_as_they_are_sent(mock, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = ImagesEndpoint("gpt-image-1", mock.address, fields={"quality": "low", "input_fidelity": "high"})
    images = (photo(1), photo(2))
    [drawn] = endpoint.draw([Request("a cat", 1, (64, 32), key="k1")])
    assert list(drawn.image.getdata()) == list(picture_for(b"a cat").getdata()) and drawn.usage == {"total_tokens": 7}
    for given in (images, images[:1]):
        [drawn] = endpoint.draw([Request("the same cat", 1, (64, 32), given, ("cat",), "k2")])
        assert isinstance(drawn, Drawn)
    (path, prompt, headers, files), both, one = mock.asked
    assert (path, prompt, files) == ("/v1/images/generations", "a cat", [])
    assert headers["idempotency-key"] == "k1" and headers["authorization"] == f"Bearer {KEY}"
    assert [name for name, _ in both[3]] == ["image[]"] * 2 and [name for name, _ in one[3]] == ["image"]
    for (_, data), image in zip(both[3], images):
        assert Image.open(io.BytesIO(data)).tobytes() == image.tobytes()


@NEEDS_OPENAI
@pytest.mark.parametrize(
    ("behaviour", "kind", "code", "is_paid"),
    [
        (("busy", 7), Busy, "rate_limit_exceeded", False),
        ("down", Busy, "overloaded", False),
        ("quota", Halt, "insufficient_quota", False),
        ("denied", Halt, "invalid_api_key", False),
        ("moderation", Refused, "moderation_blocked", False),
        ("dies", Unanswered, "no_answer", True),
        ("gateway", Unanswered, "gateway_timeout", True),
        ("broken_json", Unreadable, "broken_answer", True),
        ("truncated", Unreadable, "broken_picture", True),
        ("cut_body", Unreadable, "broken_answer", True),
        (("slow_body", 0.3), Unreadable, "slow_answer", True),
    ],
)
def test_what_an_answer_means(mock, monkeypatch, behaviour, kind, code, is_paid):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    mock.script["*"] = [behaviour]
    [answer] = ImagesEndpoint("m", mock.address, timeout=0.5).draw([Request("a cat", 1, (16, 16))])
    assert (type(answer), answer.code, answer.is_paid) == (kind, code, is_paid)
    assert len(mock.asked) == 1  # the client repeats nothing
    assert KEY not in answer.message
    if behaviour == ("busy", 7):
        assert (answer.wait, answer.is_general) == (7.0, True)
    if behaviour == "denied":
        assert "Incorrect API key provided: [key]" in answer.message


@NEEDS_OPENAI
def test_a_server_that_says_nothing_is_not_waited_for_longer_than_told(mock):
    mock.delay = 2.0
    begin = time.monotonic()
    [answer] = ImagesEndpoint("m", mock.address, timeout=0.3).draw([Request("a cat", 1, (16, 16))])
    assert (type(answer), answer.code) == (Unanswered, "timeout") and time.monotonic() - begin < 1.5


@NEEDS_OPENAI
def test_a_server_that_is_gone_was_sent_nothing():
    mock = MockEndpoint()
    mock.close()
    [answer] = ImagesEndpoint("m", mock.address).draw([Request("a cat", 1, (16, 16))])
    assert (type(answer), answer.code, answer.is_paid, answer.is_general) == (Busy, "no_connection", False, True)


def test_how_long_an_endpoint_asks_to_wait():
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after": "9"}) == 9.0 and retry_after({}) is None
    assert retry_after({"retry-after": "soon"}) is None and retry_after({"retry-after": "-3"}) == 0.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
