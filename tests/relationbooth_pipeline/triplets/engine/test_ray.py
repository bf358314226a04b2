"""`triplets make` and `annotate` on Ray: an actor that dies loses nothing and pays for nothing twice."""

import importlib.util
import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.commands.triplets.cluster import Cluster
from relationbooth_pipeline.triplets.annotators import BoxFinder, Segmenter
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.engine.asking import Manners
from relationbooth_pipeline.triplets.generators import ImagesEndpoint

from .drawn_plan import contents
from .mock_endpoint import MockEndpoint

NEEDS_RAY = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ray", "openai")),
    reason="needs the extras `data` and `ray`",
)
PLACES = {"cat": (0.0, 0.0, 0.5, 1.0), "bear": (0.5, 0.0, 1.0, 1.0)}


class Places(BoxFinder):
    checkpoint = "places"

    def __init__(self, device):
        pass

    def find(self, image, phrase):
        return [(PLACES[phrase], 0.9)]


class Rectangles(Segmenter):
    checkpoint = "rectangles"

    def __init__(self, device):
        pass

    def segment(self, image, box, phrase):
        inside = torch.zeros(image.height, image.width, dtype=torch.bool)
        x0, y0, x1, y1 = (round(v * side) for v, side in zip(box, image.size * 2))
        inside[y0:y1, x0:x1] = True
        return inside


class Dying(ImagesEndpoint):
    """Its process dies once, after a picture was paid for and before anybody wrote it down."""

    def __init__(self, model, base_url, mark):
        super().__init__(model, base_url)
        self.mark = Path(mark)

    def draw(self, requests):
        answers = super().draw(requests)
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return answers


@pytest.fixture(scope="module")
def small_cluster():
    """One place for two actors: the second begins when the first is done."""
    import ray

    ray.shutdown()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def run(*words):
    annotators = ["--boxes", f"{__name__}:Places", "--masks", f"{__name__}:Rectangles", "--device", "cpu"]
    annotators += ["--keypoints", "none", "--likeness", "none", "--until", "filter"]
    result = CliRunner().invoke(app, ["triplets", *map(str, words), *annotators])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@NEEDS_RAY
def test_an_actor_that_dies_loses_nothing_and_pays_for_nothing_twice(small_cluster, tmp_path):
    mock, works = MockEndpoint(), {}
    for name, more in (("unbroken", []), ("ray", ["--engine", "ray", "--actors", 2])):
        (tmp_path / "unbroken").touch()  # only the actor dies
        options = f'{{"model": "m", "base_url": "{mock.address}", "mark": "{tmp_path / name}"}}'
        words = ["--relation", "hugging", "--template", "a {0} is hugging a {1}", "--objects", "cat,bear", "--size", 16]
        words += ["--scene", "in a meadow", "--scene", "at night", "--scene", "in a studio", "--count", 3]
        words += ["--generator", f"{__name__}:Dying", "--generator-options", options, "--price", 0.1]
        words += ["--per-minute", 9999, "--workers", 2]
        mock.paid.clear()
        said = run("make", tmp_path / f"{name}_out", "--work", tmp_path / f"{name}_work", *words, *more)
        works[name] = WorkFolder(tmp_path / f"{name}_work")
        assert sum(mock.paid.values()) == 9 and max(mock.paid.values()) == 1
    assert (tmp_path / "ray").exists()
    assert re.search(r"share [01] of 2: generate: (\d) of \1, 1 sent again, since no answer to them was kept", said)
    assert contents(works["ray"]) == contents(works["unbroken"])
    files = sorted(works["ray"].root.glob("ledger-*-of-2.jsonl"))
    written = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    ended = [line["key"] for line in written if line["status"] == "done"]
    assert len(ended) == len({*ended}) == 9
    mock.close()


@NEEDS_RAY
def test_pictures_are_annotated_as_by_one_process(small_cluster, tmp_path):
    for number in range(3):
        for index, name in enumerate(("", "_object_0", "_object_1")):
            Image.new("RGB", (20, 16), (80 * number, 90 * index, 7)).save(tmp_path / f"{number}{name}.png")
    words = ["--phrase", "cat", "--phrase", "bear", "--predicate", "hugging"]
    for name, more in (("one", []), ("ray", ["--engine", "ray"])):
        said = run("annotate", tmp_path, tmp_path / f"{name}_out", *words, *more)
    assert "share 0 of 1: filter: 3 candidates done" in said and "2: accepted" in said
    assert "the keypoint matching loss will not act" in said
    one, ray = (contents(WorkFolder(tmp_path / f"{name}_out_work")) for name in ("one", "ray"))
    assert ray == one and sum(name.startswith("filter/") for name in one) == 3


def test_what_a_cluster_refuses(monkeypatch):
    with pytest.raises(ValueError, match="`--engine` must be local or ray, got 'slurm'"):
        Cluster("slurm", 1, None, 0, None)
    with pytest.raises(ValueError, match="`--engine ray` does all shares; leave `--shard` out"):
        Cluster("ray", 1, None, 0, "0/2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="`--engine ray` needs the package ray"):
        Cluster("ray", 1, None, 0, None)


def test_processes_that_ask_at_the_same_time_keep_the_pace_together():
    whole = Manners(workers=8, per_minute=60)
    assert (whole.shared(4).workers, whole.shared(4).per_minute) == (2, 15)
    assert whole.shared(16).workers == 1
