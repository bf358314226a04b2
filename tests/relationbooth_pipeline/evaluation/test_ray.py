"""A run on Ray, with a stub in its place: what its workers get, and where "auto" becomes a device."""

from dataclasses import replace

import pytest

from relationbooth_pipeline.evaluation import engine
from relationbooth_pipeline.evaluation.engine import Run

from .tiny_bench import pair, single, write_bench
from .tiny_run import SYSTEMS, kept, run_options


@pytest.fixture
def cluster(monkeypatch):
    """What Ray was asked for: (items, maker of a worker, workers, address, GPUs); each item is done here."""
    asked = []

    def run_on_ray(items, make_worker, *arguments):
        asked.append((items, make_worker, *arguments))
        worker = make_worker()
        for item in items:
            yield item, worker(item)

    monkeypatch.setattr(engine, "run_on_ray", run_on_ray)
    return asked


@pytest.fixture
def options(models, tmp_path):
    """A run of which nobody said where."""
    bench = write_bench(tmp_path / "bench", [pair(f"p-{i}") for i in range(2)] + [single(f"s-{i}") for i in range(2)])
    given = run_options(bench.folder, tmp_path / "run", models, engine="ray", workers=3, gpus=0.5)
    generation = replace(given.system_options.generation, device="auto")
    return replace(
        given,
        system_options=replace(given.system_options, generation=generation),
        metric_options=replace(given.metric_options, device="auto"),
    )


def test_a_worker_looks_for_its_own_device(cluster, options, monkeypatch):
    run = Run(options)
    opened, begin = [], Run.__init__

    def noted(self, given):
        begin(self, given)
        opened.append((self.options.system_options.generation.device, self.options.metric_options.device))

    monkeypatch.setattr(Run, "__init__", noted)
    # where the worker runs "auto" is another device than here
    monkeypatch.setattr(engine, "local_device", lambda device: "cpu:0" if device == "auto" else device)
    assert len(list(run.work("draw"))) == len(run.items())
    assert opened == [("cpu:0", "cpu:0")] and cluster[0][2:] == (3, None, 0.5)
    assert len(kept(run.root)) == 2 * 4 * 3


def test_ray_does_all_shares(options):
    with pytest.raises(ValueError, match="`--engine ray` does all shares; leave `--shard` out, or take `--engine loc"):
        Run(replace(options, shard="0/2"))
    assert not options.output.exists()


def test_gpus_of_the_command_reach_the_workers(cluster, options, models):
    pytest.importorskip("typer")
    from .test_command import typed

    common = ["--bench", options.bench, "--output", options.output, "--model", "miniature", "--engine", "ray"]
    common += ["--clip", models["clip"], "--dino", models["dino"], "--height", 32, "--width", 32]
    common += [part for system in SYSTEMS for part in ("--system", system)]
    done = typed("run", *common, "--shard", "0/2")
    assert done.exit_code == 1 and "`--engine ray` does all shares" in done.output
    done = typed("run", *common, "--gpus", 0.5, "--workers", 4)
    assert done.exit_code == 0, done.output
    assert [asked[2:] for asked in cluster] == [(4, None, 0.5)] * 2  # drawing and scoring
    asked = cluster[0][1].options
    assert asked.system_options.generation.device == asked.metric_options.device == "auto"
