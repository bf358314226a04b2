"""`relationbooth triplets annotate` and `export`, on drawn blocks."""

import errno
import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.review import Desk

from . import drawn
from .drawn import save_pictures

OPTIONS = ["--phrase", "cat", "--phrase", "dog", "--predicate", "hugging"]
NAMES = {"boxes": "Boxes", "masks": "Masks", "keypoints": "Points", "captions": "Sentences", "judge": "Yes"}


@pytest.fixture
def own(monkeypatch):
    """Options that name the drawn annotators by module and class."""
    for name in (*NAMES.values(), "Colors"):
        made = getattr(drawn, name)
        monkeypatch.setattr(made, "__init__", lambda self, device="cpu": None)
    monkeypatch.setitem(sys.modules, "blocks", drawn)
    named = [word for role, name in NAMES.items() for word in (f"--{role}", f"blocks:{name}")]
    return [*named, "--likeness", "blocks:Colors", "--device", "cpu"]


def run(*words):
    return CliRunner().invoke(app, ["triplets", *map(str, words)])


def test_pictures_become_triplets_that_check_passes(tmp_path, own, monkeypatch):
    pictures, output = save_pictures(tmp_path / "pictures"), tmp_path / "out"
    result = run("annotate", pictures, output, *OPTIONS, *own)
    assert result.exit_code == 1 and "nobody has looked at the 2 of 2 candidates" in result.output
    assert "hug: accepted" in result.output and not output.exists()
    result = run("annotate", pictures, output, *OPTIONS, *own, "--accept_all", "--licence", "cc0-1.0")
    assert result.exit_code == 0, result.output
    assert "the review is skipped; nobody has looked at 2 of 2 triplets" in result.output
    monkeypatch.chdir(tmp_path)
    checked = run("check", output)
    assert checked.exit_code == 0 and "keypoints right" in checked.output


def test_shards_are_exported_afterwards(tmp_path, own):
    pictures, work = save_pictures(tmp_path / "pictures"), tmp_path / "out_work"
    for index in range(2):
        result = run("annotate", pictures, tmp_path / "out", *OPTIONS, *own, "--shard", f"{index}/2")
        assert result.exit_code == 0 and f"relationbooth triplets export {work}" in " ".join(result.output.split())
        if index == 0:
            assert "1 candidates of" in run("export", work, tmp_path / "out", "--accept-all").output
    assert run("export", work, tmp_path / "out", "--accept-all").exit_code == 0
    assert len(read_triplets(tmp_path / "out")) == 2


def test_without_keypoints_it_says_what_does_not_act(tmp_path, own):
    pictures = save_pictures(tmp_path / "pictures")
    result = run("annotate", pictures, tmp_path / "out", *OPTIONS, *own, "--keypoints", "none", "--until", "keypoints")
    assert result.exit_code == 0 and "the keypoint matching loss will not act" in result.output
    assert "done up to keypoints" in result.output


def test_refusals_name_rule_figure_and_threshold(tmp_path, own):
    pictures = save_pictures(tmp_path / "pictures")
    result = run("annotate", pictures, tmp_path / "out", *OPTIONS, *own, "--threshold", "box_area=0.3", "--accept_all")
    assert "hug: refused" in result.output
    assert "area: 'cat' takes 28.0% of the target. (threshold 0.3)" in result.output
    assert result.exit_code == 1 and "none of 2 candidates is left" in result.output
    record = json.loads((tmp_path / "out_work" / "filter" / "hug.json").read_text())
    assert not record["accepted"] and record["reasons"][0]["rule"] == "area"
    drawn.draw(pictures / "hug.png", cat=drawn.LEFT)  # no dog
    result = run("annotate", pictures, tmp_path / "out", *OPTIONS, *own, "--threshold", "box_score=0", "--accept_all")
    assert "box: no 'dog' was found in the target.\n" in result.output


def test_what_the_review_said_of_other_pictures_or_instead_of_later_words_is_told(tmp_path, own):
    pictures, work = save_pictures(tmp_path / "pictures"), WorkFolder(tmp_path / "out_work")
    run("annotate", pictures, tmp_path / "out", *OPTIONS, *own)
    for name in ("hug", "hug-2"):
        Desk(work).decide({"candidate": name, "decision": "accept", "prompt": "a cat is hugging a dog"})
    drawn.draw(pictures / "hug.png", cat=drawn.RIGHT, dog=drawn.LEFT)
    prompt = "a cat is hugging a dog at night"
    result = run("annotate", pictures, tmp_path / "out", *OPTIONS, *own, "--prompt", prompt)
    told = " ".join(result.output.split())
    assert result.exit_code == 0 and f"{tmp_path / 'out'}: 1 triplets of 2 candidates" in told
    assert "candidate hug: decided about another picture, so the decision is not applied. Look again" in told
    assert f"candidate hug-2: `prompt` is 'a cat is hugging a dog' as the review has it, not '{prompt}'" in told


@pytest.mark.parametrize(
    "words, message",
    [
        (["--annotators", "cartoon"], "`--annotators` must be photos or miniature, got 'cartoon'"),
        (["--boxes", "yolo"], "`--boxes` must be one of `owlv2:MODEL`"),
        (["--threshold", "area=1"], "`--threshold` must be NAME=NUMBER with one of box_score"),
        (["--threshold", "box_area=big"], "`--threshold box_area` must be a number, got 'big'"),
        (["--threshold", "box_area=nan"], "`--threshold box_area` must be a finite number"),
        (["--until", "review"], "`--until` must be one of find"),
        (["--shard", "2/2"], "`shard` must be i/n"),
        (["--phrase", "cow"], "there must be one object per phrase (3), got 2 pictures"),
        (["--prompt", "a cat and a dog"], "must say 'hugging'"),
        (["--prompt", "a cat is hugging a dog named sk-sentinel0123456789"], "`pictures` holds what looks like a key"),
        (["--generator-licence", "sk-sentinel0123456789"], "`licence` holds what looks like a key"),
        (["--judge", "miniature", "--predicate", "yodelling"], "got 'yodelling'"),
        (["--boxes", "miniature"], "got 'dog' in 'dog'"),
        (["--engine", "slurm"], "`--engine` must be local or ray"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, own, words, message):
    pictures = save_pictures(tmp_path / "pictures")
    result = run("annotate", pictures, tmp_path / "out", *OPTIONS, *own, *words)
    assert result.exit_code == 1 and message in " ".join(result.output.split())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pictures"]


@pytest.mark.parametrize("full_at", ["pictures", "segment", "filter", "out"])
def test_a_full_disk_is_told_and_the_same_command_goes_on(tmp_path, own, monkeypatch, full_at):
    pictures, words = save_pictures(tmp_path / "pictures"), [*OPTIONS, *own, "--accept-all"]
    real = os.open

    def full(path, *args, **kwargs):
        folder = Path(path).parent.name
        if folder == full_at or (full_at == "out" and folder.endswith(".tmp")):  # its name while it is filled
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        result = run("annotate", pictures, tmp_path / "out", *words)
    told = " ".join(result.output.split())
    assert result.exit_code == 1 and "could not be written (No space left on device). Make room" in told
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".tmp", ".old")]
    assert not (tmp_path / "out").exists()
    assert run("annotate", pictures, tmp_path / "out", *words).exit_code == 0
    assert len(read_triplets(tmp_path / "out")) == 2


def test_a_work_folder_that_cannot_be_is_told(tmp_path, own):
    (tmp_path / "file").write_text("")
    words = ["--work", tmp_path / "file" / "work", *OPTIONS, *own]
    result = run("annotate", save_pictures(tmp_path / "pictures"), tmp_path / "out", *words)
    told = " ".join(result.output.split())
    assert result.exit_code == 1 and "could not be written (Not a directory). Choose a folder that you may" in told


def test_an_output_that_holds_something_is_refused_first(tmp_path, own):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("")
    result = run("annotate", save_pictures(tmp_path / "pictures"), tmp_path / "out", *OPTIONS, *own)
    assert "exists and is no empty folder" in result.output and not (tmp_path / "out_work").exists()
    result = run("export", tmp_path / "pictures", tmp_path / "new")
    assert "is no work folder: it has no `plan.json`" in " ".join(result.output.split())
