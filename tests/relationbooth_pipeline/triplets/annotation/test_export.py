"""What leaves the work folder: a triplet folder that is read as whoever trains reads it, with what people decided."""

import json

import numpy as np
import pytest
import torch
from huggingface_hub import DatasetCardData
from huggingface_hub.repocard import DatasetCard

from relationbooth_pipeline.relation_images import read_mask
from relationbooth_pipeline.triplets import check_assignments, read_triplets
from relationbooth_pipeline.triplets.annotation import ExportOptions, Thresholds, annotate, export, keep_pictures
from relationbooth_pipeline.triplets.photos import read_pictures

from . import drawn
from .drawn import LEFT, MIDDLE, RIGHT, choices, decide

UNSEEN = ExportOptions(accept_all=True)


def test_what_was_found_is_what_is_read(work, tmp_path):
    facts = export(work, tmp_path / "out", UNSEEN)
    triplets = read_triplets(tmp_path / "out")
    assert facts.exported == len(triplets) == 2 and check_assignments(triplets)[0][0] == "right"
    triplet, record = triplets[0], work.record("filter", "hug")
    torch.testing.assert_close(triplet.boxes, torch.tensor([LEFT, RIGHT]))
    torch.testing.assert_close(triplet.keypoints, torch.tensor(record["keypoints"]["target"]))
    torch.testing.assert_close(triplet.image_prompt_keypoints, torch.tensor(record["keypoints"]["objects"]))
    assert triplet.keypoint_order == "AP-10K" and triplet.prompt == "a cat is hugging a dog"
    for i, digest in enumerate(work.record("segment", "hug")["target"]):
        assert (read_mask(triplet.masks[i]).numpy() == work.mask(digest)).all()
    original = np.asarray(drawn.Image.open(tmp_path / "pictures" / "hug_object_1.png"))
    assert (np.asarray(drawn.Image.open(triplet.image_prompts[1])) == original).all()


def test_every_picture_has_its_provenance(work, tmp_path):
    export(work, tmp_path / "out", UNSEEN)
    lines = [json.loads(line) for line in (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines][:3] == ["hug.png", "hug_object_0.png", "hug_object_1.png"]
    assert lines[1]["source"] == "hug_object_0.png" and lines[1]["model"] is None and lines[1]["parents"] == []
    assert work.picture_path(lines[0]["digest"]).is_file()
    text = "".join(file.read_text() for file in (tmp_path / "out").glob("*.*") if file.suffix != ".png")
    assert str(tmp_path) not in text  # no path of this machine


def test_the_hub_s_viewer_reads_card_and_rows(work, tmp_path):
    datasets = pytest.importorskip("datasets")
    options = ExportOptions(True, "cc-by-4.0", ("painter: MIT",), people=True)
    export(work, tmp_path / "out", options)
    card = DatasetCard.load(tmp_path / "out" / "README.md", ignore_metadata_errors=False)
    given = card.data.to_dict()
    assert DatasetCardData(**given).to_dict() == given and given["license"] == "cc-by-4.0"
    for words in (
        "# Triplets: hugging",
        "2 triplets",
        "masks 1",
        "Nobody has looked at any",
        "written consent",
        "AP-10K",
    ):
        assert words in card.text
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 2 and rows[0]["phrases"] == ["cat", "dog"] and rows[0]["image"].size == drawn.SIZE


def test_the_card_names_who_drew_and_what_was_refused(work, tmp_path):
    digest = work.record("given", "hug")["target"]
    file = work.picture_path(digest).with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model": "painter-1"}))
    annotate(work, choices(), Thresholds().changed(["identity=1.5"]))
    decide(work, {"candidate": "hug", "decision": "accept"})
    export(work, tmp_path / "out", ExportOptions(generator_licences=("painter-1: OpenRAIL",)))
    text = (tmp_path / "out" / "README.md").read_text()
    for words in (
        "- `painter-1`",
        "- painter-1: OpenRAIL",
        "| `identity` | 2 |",
        "accepted 0; 1 are here",
        "A person looked at all",
    ):
        assert words in text
    assert "states no consent of people" in text and "license:" not in text
    thresholds = json.loads((tmp_path / "out" / "thresholds.json").read_text())
    assert thresholds["identity"]["value"] == 1.5 and set(thresholds["identity"]) == {"value", "reason", "source"}


def test_nobody_s_review_is_not_skipped_silently(work, tmp_path):
    with pytest.raises(
        ValueError, match="nobody has looked at the 2 of 2 candidates .*relationbooth triplets review .*--accept_all"
    ):
        export(work, tmp_path / "out", ExportOptions())
    assert not (tmp_path / "out").exists()


def test_edited_boxes_are_looked_into_anew_and_by_their_stages_alone(work, tmp_path):
    decide(work, {"candidate": "hug", "decision": "accept", "boxes": [list(MIDDLE), list(RIGHT)]})
    with pytest.raises(ValueError, match="candidate hug: its boxes were edited after its masks were cut. Run"):
        export(work, tmp_path / "out", ExportOptions())
    loads: list[str] = []
    made = annotate(work, choices(loads), Thresholds())
    assert made["segment"] == made["keypoints"] == 1 and loads == ["masks", "keypoints", "likeness"]
    export(work, tmp_path / "out", ExportOptions())
    (triplet,) = read_triplets(tmp_path / "out")
    torch.testing.assert_close(triplet.boxes[0], torch.tensor(MIDDLE))
    rows = torch.nonzero(read_mask(triplet.masks[0]))
    assert rows[0].tolist() == [4, 18]  # the box's corner: .1 · 40 rows, .3 · 60 columns


def test_what_an_annotation_that_was_stopped_midway_left_is_not_exported(work, tmp_path):
    decide(work, {"candidate": "hug", "decision": "accept", "exchanged": True})
    for stage, message in (
        ("find", "its boxes were edited after its masks were cut. Run .*: stage 'segment' runs again"),
        ("segment", "its boxes were edited after its keypoints were found. Run .*: stage 'keypoints' runs again"),
        ("keypoints", "what other stages found changed after stage 'filter'. Run `relationbooth triplets annotate` to"),
    ):
        annotate(work, choices(), Thresholds(), until=stage)
        with pytest.raises(ValueError, match=f"candidate hug: .*{message}"):
            export(work, tmp_path / "out", ExportOptions())
    annotate(work, choices(), Thresholds())
    assert export(work, tmp_path / "out", ExportOptions()).exported == 1


def test_records_of_a_picture_that_was_replaced_are_not_exported(work, tmp_path):
    drawn.draw(tmp_path / "pictures" / "hug.png", cat=RIGHT, dog=LEFT)  # of the same size
    keep_pictures(work, read_pictures(tmp_path / "pictures", ["cat", "dog"], "hugging"))
    annotate(work, choices(), Thresholds(), until="relation")
    with pytest.raises(ValueError, match="candidate hug: .*Run `relationbooth triplets annotate` to its end"):
        export(work, tmp_path / "out", UNSEEN)
    annotate(work, choices(), Thresholds())
    assert export(work, tmp_path / "out", UNSEEN).exported == 2


def test_thresholds_that_the_filter_did_not_come_to_apply_are_not_told_as_its_own(work, tmp_path):
    Thresholds().changed(["identity=1.5"]).write(work.root)
    with pytest.raises(ValueError, match="candidate hug: .*thresholds .* changed after stage 'filter'"):
        export(work, tmp_path / "out", UNSEEN)


def test_a_candidate_that_no_filter_saw_stops_the_export(work, tmp_path):
    (work.root / "filter" / "hug.json").unlink()
    with pytest.raises(ValueError, match=r"1 candidates of .* are not filtered yet \(hug\). Run"):
        export(work, tmp_path / "out", UNSEEN)
