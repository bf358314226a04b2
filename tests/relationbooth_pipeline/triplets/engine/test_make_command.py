"""`relationbooth triplets make` against the mock endpoint, as typed; and that no key is left anywhere."""

import errno
import json

import pytest
from typer.testing import CliRunner

from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.triplets.engine import WorkFolder

from .drawn_plan import NEEDS_OPENAI
from .mock_endpoint import MockEndpoint

KEY = "sk-sentinel0123456789"
PLAN = """
relation: hugging
template: a {0} is hugging a {1}
objects: [[cat, bear], [fox, owl]]
scenes: [in a meadow, at night]
size: 16
count: 2
"""


@pytest.fixture
def mock(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = MockEndpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN, encoding="utf-8")
    return file


@pytest.fixture
def made(mock, plan, tmp_path):
    """Runs the command with further options: (exit status, what it said)."""

    def run(*options):
        common = ["--plan", str(plan), "--generator", "openai:mock", "--base-url", mock.address]
        result = CliRunner().invoke(app, ["triplets", "make", str(tmp_path / "out"), *common, *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, " ".join((result.stdout + result.stderr).split())

    return run


@NEEDS_OPENAI
def test_a_dry_run_tells_counts_and_the_bound_and_writes_nothing(made, mock, tmp_path):
    status, said = made("--dry-run", "--price", "0.04")
    assert status == 0 and not mock.asked and not (tmp_path / "out_work").exists()
    assert "4 candidates of 'hugging' [hugging]" in said and "a fox is hugging an owl in a meadow" in said
    assert "generate: up to 4 pictures by mock same: up to 8 pictures by mock" in said
    assert "at most 12 pictures, 0.48 in all at 0.04 each; counted so far: 0, 0.00" in said


@NEEDS_OPENAI
def test_targets_are_drawn_once_and_told(made, mock, tmp_path):
    for _ in range(2):
        status, said = made("--until", "generate", "--price", "0.04", "--max_cost", "0.16")
        assert status == 0 and "generate: 4 of 4; 4 pictures counted, 0.16 spent" in said
    assert len(mock.asked) == 4
    record = json.loads((tmp_path / "out_work" / "generate" / "hugging-0003.json").read_text(encoding="utf-8"))
    assert record["prompt"] == "a fox is hugging an owl at night" and record["phrases"] == ["fox", "owl"]


@NEEDS_OPENAI
def test_shards_draw_all_of_it_once(made, mock, tmp_path):
    for shard in ("0/3", "1/3", "2/3"):
        assert made("--until", "generate", "--shard", shard, "--max-images", "4")[0] == 0
    assert len(mock.asked) == 4 == len({prompt for _, prompt, *_ in mock.asked}) * 1
    status, said = made("--until", "generate")
    assert "generate: 4 of 4" in said and len(mock.asked) == 4


@NEEDS_OPENAI
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-images", "11"], "up to 12 pictures, `--max-images` allows 11"),
        (["--max-cost", "0.4", "--price", "0.04"], "costs up to 0.48"),
        (["--objects", "cat,cat"], "two of ['cat', 'cat'] are the same word"),
        (["--predicate", "embracing"], "'embracing' must stand in"),
        (["--base-url", "http://127.0.0.1:9/v1"], "nobody answers at 127.0.0.1, port 9"),
        (["--base-url", f"http://x:{KEY}@127.0.0.1/v1"], "what looks like a key or a password"),
        (["--scene", f"near {KEY}"], "what looks like a key"),
        (["--key-variable", KEY], "must be the name of an environment variable"),
        (["--generator", f"openai:{KEY}"], "what looks like a key"),
        (["--generator-options", "{"], "`--generator-options` must be JSON"),
        (["--generator", "dalle"], "`--generator` must be one of"),
        (["--until", "drawing"], "`--until` must be one of generate, crop, same"),
        (["--shard", "3/3"], "`shard` must be i/n"),
        (["--size", "10x10"], "multiples of 8"),
        (["--workers", "0"], "`--workers` must be from 1"),
        (["--on-long-wait", "cry"], "must be wait or stop"),
        (["--until", "filter", "--annotators", "miniature", "--threshold", "x=1"], "`--threshold` must be NAME=NUMBER"),
        (["--until", "find", "--annotators", "miniature", "--objects", "cat,wombat"], "'wombat' in 'wombat'"),
        (["--licence", KEY], "`licence` holds what looks like a key"),
        (["--engine", "slurm"], "`--engine` must be local or ray"),
        (["--until", "find", "--annotators", "cartoon"], "`--annotators` must be photos or miniature"),
        (["--until", "find", "--annotators", "miniature", "--boxes", "yolo"], "`--boxes` must be one of"),
    ],
)
def test_bad_input_is_told_before_anything_is_sent(made, mock, tmp_path, options, message):
    stages = [] if options[0] in ("--until", "--max-images", "--max-cost") else ["--until", "generate"]
    status, said = made(*stages, *options)
    assert status == 1 and message in said and KEY not in said
    assert not mock.asked and not (tmp_path / "out_work").exists()


@NEEDS_OPENAI
def test_a_folder_of_another_plan_is_refused_by_what_differs(made, mock):
    assert made("--until", "generate")[0] == 0
    status, said = made("--until", "generate", "--seed", "1", "--generator-options", '{"quality": "low"}')
    assert status == 1 and "`seed` is 0 there, 1 here" in said and "`generator` is" in said
    assert len(mock.asked) == 4


@NEEDS_OPENAI
def test_keys_reach_no_file_no_output_and_no_message(made, mock, tmp_path):
    mock.script["*"] = ["denied"]
    status, said = made("--until", "generate", "--workers", "1")
    assert status == 1 and "lets nobody go on (invalid_api_key: 401: Incorrect API key provided: [key]" in said
    mock.script["a cat is hugging a bear at night"] = ["moderation"]
    assert made("--until", "generate")[0] == 0
    seen = [headers["authorization"] for *_, headers, _ in mock.asked]
    assert set(seen) == {f"Bearer {KEY}"}  # it was there to be leaked
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    assert KEY not in said


@NEEDS_OPENAI
def test_a_full_disk_is_told(made, mock, monkeypatch):
    def full(self, image, provenance):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(WorkFolder, "keep_picture", full)
        status, said = made("--until", "generate")
    assert status == 1 and "out_work` could not be written (No space left on device). Make room" in said
    status, said = made("--until", "generate")
    assert status == 0 and "generate: 4 of 4" in said and "sent again, since no answer to them was kept" in said


@NEEDS_OPENAI
def test_a_missing_key_is_told_before_anything_is_sent(made, monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY")
    status, said = made("--until", "generate", "--base-url", "https://example.org/v1")
    assert status == 1 and "`example.org` needs a key" in said and "OPENAI_API_KEY" in said
    assert not (tmp_path / "out_work").exists()
