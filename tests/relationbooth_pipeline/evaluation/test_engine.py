"""A run: taken up again after any death, shared between processes, and refused before anything loads."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from relationbooth_pipeline.evaluation.engine import RUN, Run
from relationbooth_pipeline.evaluation.finishing import comparison, default_models, estimate, finish, report_of
from relationbooth_pipeline.evaluation.metrics import features, read_scores
from relationbooth_pipeline.parallel import Share
from tests.forked import own_locks

from .tiny_bench import pair, single, write_bench
from .tiny_run import DIES_ONCE, finished, kept, run_options

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    cases = [pair(f"pair-{i}") for i in range(3)] + [single(f"single-{i}") for i in range(2)]
    return write_bench(tmp_path_factory.mktemp("bench"), cases)


@pytest.fixture(scope="module")
def whole(bench, models, tmp_path_factory):
    """A run by one process."""
    run = finished(run_options(bench.folder, tmp_path_factory.mktemp("whole") / "run", models))
    return run, kept(run.root)


def lines(run):
    return read_scores(run.root, run.cases, [s.name for s in run.systems], run.options.pictures).lines()


def test_a_finished_run_is_left_alone(whole):
    run, files = whole
    assert sum(name.endswith(".png") for name in files) == 3 * 5 * 2
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()}
    again = finished(run.options)
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()} == before
    assert again.left_to_draw() == []


def test_two_shards_give_the_same_as_one_process(whole, bench, models, tmp_path):
    for shard in ("1/2", "0/2"):
        last = finished(run_options(bench.folder, tmp_path / "run", models, shard=shard))
    assert kept(tmp_path / "run") == whole[1] and lines(last) == lines(whole[0])


def _until_killed(options, stages):
    own_locks()
    torch.set_num_threads(1)
    run = Run(options)
    for stage in stages:
        for _ in run.work(stage):
            pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_at_ten_moments_the_finished_run_is_the_same(whole, bench, models, tmp_path):
    rng, context, killed, number = random.Random(0), multiprocessing.get_context("fork"), 0, 0
    while killed < 10:
        number += 1
        root = tmp_path / str(number)
        options, goes_on = run_options(bench.folder, root, models), True
        while goes_on and killed < 10:
            process = context.Process(target=_until_killed, args=(options, ("draw", "score")))
            process.start()
            process.join(rng.uniform(0.01, 0.3))
            goes_on = process.is_alive()
            if goes_on:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            process.join()
        run = finished(options)
        assert kept(root) == {n: b for n, b in kept(root).items() if not n.endswith(".tmp")} | whole[1]
        assert lines(run) == lines(whole[0])


def test_under_torchrun_two_processes_give_the_same(whole, bench, models, tmp_path):
    pytest.importorskip("typer")
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "relationbooth_pipeline.commands.main"]
    command += ["evaluate", "run", "--bench", str(bench.folder / "cases.jsonl"), "--output", str(tmp_path / "run")]
    command += ["--model", "miniature", "--clip", models["clip"], "--dino", models["dino"], "--pictures", "2"]
    command += ["--height", "32", "--width", "32", "--device", "cpu"]
    for system in whole[0].options.systems:
        command += ["--system", system]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert kept(tmp_path / "run") == whole[1]
    assert (tmp_path / "run" / "results.jsonl").read_text(encoding="utf-8").splitlines() == lines(whole[0])


def test_a_run_on_ray_of_which_a_process_is_killed_gives_the_same(whole, bench, models, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    ray.shutdown()  # a cluster of another test would not know the variable
    monkeypatch.setenv(DIES_ONCE, str(tmp_path / "died"))
    run = finished(run_options(bench.folder, tmp_path / "run", models, engine="ray", workers=2))
    ray.shutdown()
    assert (tmp_path / "died").read_text(encoding="utf-8") == "pair-1"
    assert kept(tmp_path / "run") == whole[1] and lines(run) == lines(whole[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": 0}, "`pictures` must be at least 1, got 0"),
        ({"engine": "slurm"}, "`--engine` must be local or ray, got 'slurm'"),
        ({"shard": "2/2"}, "`shard` must be i/n with i from 0 to n − 1, such as 0/4, got '2/2'"),
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"systems": ("flux",)}, "`system` must be one of"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_folder(bench, models, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Run(run_options(bench.folder, tmp_path / "run", models, **changes))
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_wherever_it_fills(bench, models, tmp_path, monkeypatch):
    options = run_options(bench.folder, tmp_path / "run", models)

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(features, "save_file", full)
    with pytest.raises(ValueError, match="no space is left for .* start the same command again"):
        finished(options)
    monkeypatch.undo()
    finished(options)


def test_a_folder_of_something_else_is_refused(bench, whole, models, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter 1", encoding="utf-8")
    with pytest.raises(ValueError, match="holds something, but no run"):
        Run(run_options(bench.folder, tmp_path, models))
    other = write_bench(tmp_path / "other", [pair("x"), pair("y"), single("z"), single("w")])
    with pytest.raises(ValueError, match="is a run of other cases or pictures a case .fingerprint"):
        Run(run_options(other.folder, whole[0].root, models))
    with pytest.raises(ValueError, match="pictures: 2 there, 1 asked for"):
        Run(run_options(bench.folder, whole[0].root, models, pictures=1))


@pytest.mark.parametrize("written", [False, True])
def test_two_processes_may_begin_one_run_at_the_same_moment(bench, models, tmp_path, monkeypatch, written):
    """The other one's half-written file is there already, and may be whole the moment after we looked."""
    options = run_options(bench.folder, tmp_path / "run", models)
    Run(options)
    started, temporary = tmp_path / "run" / RUN, tmp_path / "run" / ".0123.tmp"
    started.rename(temporary)

    def looked(folder, iterdir=Path.iterdir):
        found = [*iterdir(folder)]
        if written and folder == tmp_path / "run" and temporary.exists():
            temporary.rename(started)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", looked)
    Run(options)
    assert started.is_file()


def test_a_changed_metric_is_scored_again_and_nothing_else(whole, bench, models, tmp_path):
    options = run_options(bench.folder, tmp_path / "run", models)
    finished(options)
    changed = options.metric_options.__class__(models["clip"], models["dino"], protocol="custom-diffusion")
    run = finished(run_options(bench.folder, tmp_path / "run", models, metric_options=changed))
    first, second = (read_scores(r.root, r.cases, ["mine"], 2) for r in (whole[0], run))
    for case, found in first.values["mine"].items():
        for one, two in zip(found["DINO"], second.values["mine"][case]["DINO"]):
            assert one.figure == pytest.approx(100 * two.figure, abs=1e-3)


def test_the_estimate_tells_pictures_and_hours(whole, bench, models, tmp_path):
    options = run_options(bench.folder, tmp_path / "run", models)
    told = estimate(Run(options))
    assert told[0] == "mine: 10 pictures left (no picture drawn yet)" and "--limit 10" in told[-1]
    assert estimate(whole[0])[-1] == "about 0.00 hours for one process"


def test_the_report_again_needs_all_scores_or_partial(whole, bench, models, tmp_path):
    options = run_options(bench.folder, tmp_path / "run", models, shard="0/2")
    finished(options)
    with pytest.raises(ValueError, match="system-case pairs are not scored yet .*pass `--partial`"):
        report_of(tmp_path / "run", None, None, False, False)
    told = report_of(tmp_path / "run", None, None, False, True)
    assert "are not scored yet: figures are of the others" in told[0] and told[-1].endswith("report.html")
    with pytest.raises(ValueError, match="is no run: it holds no run.json"):
        report_of(tmp_path, None, None, False, False)
    with pytest.raises(ValueError, match="`against` must be one of mine"):
        report_of(whole[0].root, None, "nobody", False, False)


def test_a_report_tells_of_systems_that_were_drawn_and_not_scored_and_of_all_cases(bench, models, tmp_path):
    finished(run_options(bench.folder, tmp_path / "run", models, limit=3))
    for limit, noted in ((1, 3), (4, 4), (None, None), (2, None)):  # a later, shorter run leaves the report whole
        Run(run_options(bench.folder, tmp_path / "run", models, limit=limit))
        assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["limit"] == noted
    document = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    text = json.dumps({**document, "limit": 3, "systems": [*document["systems"], "drawn"]})
    (tmp_path / "run" / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"3 of 12 system-case pairs are not scored yet \(first: drawn/"):
        report_of(tmp_path / "run", None, None, False, False)
    assert "| drawn |" not in report_of(tmp_path / "run", None, None, False, True)[0]


def test_runs_are_compared_by_case(whole, bench, models, tmp_path):
    run, _ = whole
    finish(run, False)
    (tmp_path / "theirs.jsonl").write_bytes((run.root / "results.jsonl").read_bytes())
    text = comparison([run.root, tmp_path / "theirs.jsonl"], str(bench.folder), None)
    assert "| theirs.jsonl/mine − mine | 0.0 [0.0, 0.0]" in text
    with pytest.raises(ValueError, match="two or more runs, got 1"):
        comparison([run.root], None, None)


def test_a_system_to_compare_with_that_is_none_is_refused_before_anything(bench, models, tmp_path):
    with pytest.raises(ValueError, match="`against` must be one of mine, collage, shuffled-mine, got 'nobody'"):
        Run(run_options(bench.folder, tmp_path / "run", models, against="nobody"))
    assert not (tmp_path / "run").exists()


def test_shares_cover_every_item_once(monkeypatch):
    items = list(range(23))
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for shard in ("0/2", "1/2"):
        for rank in range(3):
            monkeypatch.setenv("RANK", str(rank))
            parts += Share.of(shard).part(items)
    assert sorted(parts) == items


def test_every_bench_has_its_models():
    assert default_models("miniature", None, None, None).clip == "miniature"
    real = default_models("cases.jsonl", None, None, None)
    assert (real.clip, real.dino, real.size) == ("openai/clip-vit-base-patch32", "facebook/dino-vits16", 1024)
    assert json.dumps(default_models("miniature", "m", "c", "d").__dict__)
