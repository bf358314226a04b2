"""The comparison of the data engine's triplets with exact ones: the same pictures twice, and pictures of its own."""

import shutil

import numpy as np
import pytest

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import miniature
from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.annotation import stage
from tests.training.miniature.test_evaluation import Oracle
from training.miniature.measure import cases, data_engine
from training.miniature.measure.cases import ADAPTER
from training.miniature.measure.data_engine import ANNOTATED, EXACT, MADE


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch):
    """The collector would take most of the time: everything that is imported is looked through."""
    monkeypatch.setattr(stage.gc, "collect", lambda: 0)


def test_exact_and_annotated_triplets_are_the_same_pictures_and_made_ones_are_the_command_s(tmp_path, monkeypatch):
    for name, value in (("TRIPLETS", 2), ("DRAWN", 3), ("PAIRS", (("bear", "cat"),)), ("OF_EACH", 1)):
        monkeypatch.setattr(data_engine, name, value)
    folders = data_engine.triplet_folders("jumping", tmp_path)
    found = {row: read_triplets(folder) for row, folder in folders.items()}
    assert len(found[EXACT]) == len(found[ANNOTATED]) == 2 and len(found[MADE]) == 1
    by_picture = {open_image(t.image).tobytes(): t for t in found[EXACT]}
    for triplet in found[ANNOTATED]:
        exact = by_picture.pop(open_image(triplet.image).tobytes())
        assert triplet.prompt == exact.prompt
        assert (triplet.boxes - exact.boxes).abs().max() < 0.1 and not triplet.boxes.equal(exact.boxes)
    assert found[MADE][0].prompt == "a bear is jumping in a meadow"
    before = {row: (folder / "metadata.jsonl").stat().st_mtime_ns for row, folder in folders.items()}
    data_engine.triplet_folders("jumping", tmp_path)  # what is there is kept
    assert {row: (folder / "metadata.jsonl").stat().st_mtime_ns for row, folder in folders.items()} == before


def test_another_model_draws_and_learns_where_one_is_named(tmp_path, monkeypatch):
    shared = cases.draw_cases("kissing", 2, 0)
    verdicts = cases.judge(Oracle(shared), shared, np.zeros((2, 8, 8, 3), np.uint8))
    asked = []
    monkeypatch.setattr(
        data_engine, "measure", lambda *given: asked.append(given) or {EXACT: verdicts, ADAPTER: verdicts}
    )
    words = ["kissing", "--output_dir", str(tmp_path / "out"), "--count", "2"]
    copy = shutil.copytree(miniature.path(), tmp_path / "model")
    data_engine.main([*words, "--model", str(copy)])
    ((pose, root, _, model, pipe, count),) = asked
    assert (pose, root, model, count) == ("kissing", tmp_path / "out" / "kissing", copy, 2)
    assert pipe.relation_adapter is not None
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds what was made for another model"):
        data_engine.main([*words, "--model", str(copy)])
