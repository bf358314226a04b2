"""A judge behind an endpoint: verdicts read strictly, kept, and never made up."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from relationbooth_pipeline.evaluation.metrics import MetricOptions, plan_metrics
from relationbooth_pipeline.evaluation.metrics.judge import TRIES, Judge, read_verdict
from tests.tiny import photo

from ..tiny_bench import write_bench


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ('{"relation": 7, "identity": 2.5}', {"relation": 7.0, "identity": 2.5}),
        ('Sure!\n```json\n{"identity": 10, "relation": 0}\n```', {"relation": 0.0, "identity": 10.0}),
        ('{"relation": 11, "identity": 2}', None),
        ('{"relation": "7", "identity": 2}', None),
        ('{"relation": true, "identity": 2}', None),
        ('{"relation": 7}', None),
        ('{"relation": 7, "identity": 2} {"relation": 1, "identity": 1}', None),
        ("a solid 8 of 10", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_or_missing(answer, verdict):
    assert read_verdict(answer) == verdict


@pytest.fixture
def endpoint():
    """An endpoint's address, the answers it gives in turn (a number: an HTTP status), and what it was asked."""
    answers, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = answers.pop(0) if answers else "nothing to say"
            status = answer if isinstance(answer, int) else 200
            message = {"role": "assistant", "content": answer}
            document = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
            document["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
            said = f"no, {self.headers['Authorization']} is none of ours"
            body = json.dumps(document if status == 200 else {"error": {"message": said}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", answers, asked
    server.shutdown()
    server.server_close()


def test_verdicts_are_kept_and_unreadable_ones_are_missing(endpoint, tmp_path):
    pytest.importorskip("openai")
    address, answers, asked = endpoint
    bench = write_bench(tmp_path / "bench")
    pictures = [photo(1), photo(2)]
    answers += ["hm", '{"relation": 3, "identity": 9}', *["I like it"] * TRIES]
    for _ in range(2):  # the second time from files
        judge = Judge(address, "some-model", tmp_path / "run")
        found = judge.score(bench, bench.cases[0], pictures)
        assert [v.figure for v in found["judge relation"]] == [3.0, None]
        assert [v.figure for v in found["judge identity"]] == [9.0, None]
        assert found["judge relation"][1].note == f"no readable verdict in {TRIES} tries"
        assert len(asked) == 2 + TRIES
    content = asked[0]["messages"][0]["content"]
    assert asked[0]["model"] == "some-model" and asked[0]["temperature"] == 0
    assert [part["type"] for part in content] == ["text", "image_url", "image_url", "image_url"]
    assert "a cat is hugging a bear on the beach" in content[0]["text"]


def test_an_endpoint_that_refuses_is_told_and_finished_verdicts_stay(endpoint, tmp_path):
    pytest.importorskip("openai")
    address, answers, _ = endpoint
    bench = write_bench(tmp_path / "bench")
    answers += ['{"relation": 3, "identity": 9}', 401]
    judge = Judge(address, "m", tmp_path / "run")
    with pytest.raises(ValueError, match="did not answer .AuthenticationError.*start the same command again"):
        judge.score(bench, bench.cases[0], [photo(1), photo(2)])
    assert len(list((tmp_path / "run" / "verdicts").glob("*.json"))) == 1


SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    ("judge", "model"),
    [
        (f"https://me:{SECRET}@host/v1", "m"),
        (f"https://{SECRET}@host/v1", "m"),
        (f"https://host/v1?key={SECRET}", "m"),
        (f"https://host/v1#{SECRET}", "m"),
        (f"https://host/sk-{SECRET}/v1", "m"),
        (f"https://host/v1/{SECRET}", "m"),  # the environment's own
        ("https://host/v1", f"hf_{SECRET.replace('-', '')}"),
    ],
)
def test_a_judge_whose_address_may_hold_a_key_is_refused_before_anything(models, tmp_path, monkeypatch, judge, model):
    """Address and name stand in columns.json, every result and the page."""
    monkeypatch.setenv("MY_API_KEY", SECRET)
    bench = write_bench(tmp_path / "bench")
    asked = MetricOptions(models["clip"], models["dino"], judge=judge, judge_model=model)
    for made in (lambda: plan_metrics(asked, bench, tmp_path), lambda: Judge(judge, model, tmp_path)):
        with pytest.raises(
            ValueError, match="`judge(_model)?` (holds what looks like a key|must hold no name)"
        ) as told:
            made()
        assert SECRET not in str(told.value)
    with pytest.raises(ValueError, match="`judge` must be http"):
        plan_metrics(replace(asked, judge="host/v1", judge_model="m"), bench, tmp_path)


def test_what_a_judge_says_of_a_key_is_not_repeated(endpoint, tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    address, answers, _ = endpoint
    answers.append(401)
    bench = write_bench(tmp_path / "bench")
    with pytest.raises(ValueError, match=r"no, .*\[key\] is none of ours") as told:
        Judge(address, "m", tmp_path / "run").score(bench, bench.cases[0], [photo(1)])
    assert SECRET not in str(told.value)
