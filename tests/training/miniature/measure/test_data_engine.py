"""The comparison of the data engine's triplets with exact ones: the same pictures twice, and pictures of its own."""

import pytest

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.triplets import read_triplets
from relationbooth_pipeline.triplets.annotation import stage
from training.miniature.measure import data_engine
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
