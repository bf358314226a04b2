"""`relationbooth triplets make` from a plan to triplets that `check` passes, with a painter of coloured blocks."""

import importlib.util
import json
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.commands.triplets.cluster import Cluster
from relationbooth_pipeline.parallel import Share
from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.annotation import STAGES
from relationbooth_pipeline.triplets.generators import Drawn, Generator
from tests.relationbooth_pipeline.triplets.annotation import drawn

ALONE = {"cat": (0.2, 0.3, 0.9, 0.7), "dog": (0.1, 0.3, 0.8, 0.7)}
NAMES = {"boxes": "Boxes", "masks": "Masks", "keypoints": "Points", "judge": "Yes", "likeness": "Colors"}


class BlockPainter(Generator):
    """Targets side by side; every third without its dog. Objects alone, lying down, from a cut-out of their colour."""

    model, can_edit = "block painter", True
    asked: list = []

    def settings(self):
        return {"kind": "blocks"}

    def draw(self, requests):
        self.asked.extend(requests)
        return [Drawn(self._picture(request)) for request in requests]

    def _picture(self, request):
        if request.images:
            [phrase] = request.phrases
            assert drawn.place(request.images[0], phrase).mean() > 0.4  # its own cut-out, not the other's
            boxes = {phrase: ALONE[phrase]}
        else:
            boxes = {"cat": drawn.LEFT, "dog": drawn.RIGHT}
            if "on a beach" in request.prompt:
                del boxes["dog"]
        return self._drawn(request.seed, boxes)

    def _drawn(self, seed, boxes):
        file = self.folder / "drawn.png"
        drawn.draw(file, **boxes)
        picture = Image.open(file).convert("RGB")
        picture.putpixel((0, 0), (seed & 255, seed >> 8 & 255, seed >> 16 & 255))  # no picture is another
        return picture


@pytest.fixture
def make(tmp_path, monkeypatch):
    for name in NAMES.values():
        monkeypatch.setattr(getattr(drawn, name), "__init__", lambda self, device="cpu": None)
    monkeypatch.setattr(BlockPainter, "folder", tmp_path, raising=False)
    monkeypatch.setattr(BlockPainter, "asked", [])
    monkeypatch.setattr(drawn, "BlockPainter", BlockPainter, raising=False)
    monkeypatch.setitem(sys.modules, "blocks", drawn)
    options = ["--relation", "hugging", "--template", "a {0} is hugging a {1}", "--objects", "cat,dog", "--count", "3"]
    options += ["--scene", "in a meadow", "--scene", "at night", "--scene", "on a beach", "--size", "64"]
    options += [word for role, name in NAMES.items() for word in (f"--{role}", f"blocks:{name}")]
    options += ["--generator", "blocks:BlockPainter", "--device", "cpu"]

    def run(*more):
        result = CliRunner().invoke(app, ["triplets", "make", str(tmp_path / "out"), *options, *more])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, " ".join(result.output.split())

    return run


def test_a_plan_becomes_triplets_stage_by_stage(make, tmp_path, monkeypatch):
    status, said = make("--until", "crop")
    assert status == 0 and "crop: all objects found in 2 of 3 targets" in said
    assert len(BlockPainter.asked) == 3
    status, said = make()
    assert status == 1 and "nobody has looked at the 2 of 2 candidates" in said
    assert len(BlockPainter.asked) == 3 + 4  # the target without a dog has cost nothing further
    status, said = make("--accept-all", "--licence", "cc0-1.0")
    assert status == 0 and len(BlockPainter.asked) == 7, said
    triplets = read_triplets(tmp_path / "out")
    assert [t.prompt for t in triplets] == ["a cat is hugging a dog in a meadow", "a cat is hugging a dog at night"]
    assert triplets[0].predicate == "hugging" and triplets[0].phrases == ["cat", "dog"]
    text = (tmp_path / "out" / "provenance.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    made = {line["file_name"]: line for line in lines if line["file_name"]}
    by_digest = {line["digest"]: line for line in lines}
    targets = {line["digest"] for name, line in made.items() if "_object_" not in name}
    cut_outs = [by_digest[line["parents"][0]] for name, line in made.items() if "_object_" in name]
    assert len(cut_outs) == 4 and all(line["file_name"] is None for line in cut_outs)
    assert {line["parents"][0] for line in cut_outs} <= targets  # object ← its cut-out ← a target
    monkeypatch.chdir(tmp_path)
    checked = CliRunner().invoke(app, ["triplets", "check", "out"])
    assert checked.exit_code == 0, checked.output


def test_shards_go_through_all_stages_and_are_exported_afterwards(make, tmp_path):
    for index in (1, 0):
        status, said = make("--shard", f"{index}/2", "--accept-all")
        assert status == 0 and f"relationbooth triplets export {tmp_path / 'out_work'}" in said
    words = ["triplets", "export", str(tmp_path / "out_work"), str(tmp_path / "out"), "--accept-all"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert len(read_triplets(tmp_path / "out")) == 2 and len(BlockPainter.asked) == 7


def test_one_stage_alone(make, tmp_path):
    assert make("--stage", "generate")[0] == 0 and len(BlockPainter.asked) == 3
    assert make("--stage", "same")[0] == 0 and len(BlockPainter.asked) == 3  # nothing is cut out yet
    assert make("--stage", "crop")[0] == 0 and make("--stage", "same")[0] == 0
    assert len(BlockPainter.asked) == 7
    status, said = make("--stage", "segment")
    assert status == 0 and "done up to segment" in said
    assert not (tmp_path / "out_work" / "keypoints").exists()


@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("last, count", [("find", 1), ("keypoints", 3), ("filter", 7)])
def test_every_engine_stops_after_the_last_stage_that_is_asked_for(make, tmp_path, monkeypatch, engine, last, count):
    said_by_share: list[str] = []
    found = importlib.util.find_spec  # Ray need not be there
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: name == "ray" or found(name, *of))
    monkeypatch.setattr(Cluster, "run", lambda self, job: said_by_share.extend(job(Share())))
    status, said = make("--until", last, "--engine", engine)
    assert status == 0 and ("accepted" in said if last == "filter" else f"done up to {last}" in said), said
    assert engine == "local" or f"{last}: 2 candidates done" in said_by_share
    later = [stage for stage in list(STAGES)[count:] if stage != "segment"]  # what is cut out has its mask
    assert not [stage for stage in later if (tmp_path / "out_work" / stage).exists()]
    assert not (tmp_path / "out").exists()
