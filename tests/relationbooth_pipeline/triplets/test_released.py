"""The released layout as it was published: with and without predicates; read, never written into."""

import json
from pathlib import Path

import pytest
import torch

from relationbooth_pipeline.triplets import (
    TripletError,
    check_assignments,
    read_triplets,
    repair_assignments,
    write_metadata,
)

from .folders import save_released

RELEASED = Path(__file__).parents[4] / "shared" / "data" / "triplets_hug"
needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released triplets are not at {RELEASED}")
HUG = {"prompt": "A lion and a polar bear hug.", "entities": ["lion", "polar bear"], "predicate": ["hug"]}


def without(field: str, **changes) -> dict:
    return {key: value for key, value in {**HUG, **changes}.items() if key != field}


def test_a_predicate_is_read_told_by_the_sentence_or_given(tmp_path):
    dance = without("predicate", prompt="A lion is dancing with a polar bear.")
    samples = {"0": HUG, "1": without("predicate"), "2": dance}
    save_released(tmp_path, samples)
    assert [t.predicate for t in read_triplets(tmp_path)] == ["hug", "hug", "dancing with"]
    samples["1"]["prompt"] = "Here a lion and a polar bear dancing"
    (tmp_path / "prompts.json").write_text(json.dumps(samples), encoding="utf-8-sig")
    assert [t.predicate for t in read_triplets(tmp_path, predicate="dancing")] == ["hug", "dancing", "dancing"]


def test_boxes_and_visibility_come_from_masks(tmp_path):
    (triplet,) = read_triplets(save_released(tmp_path, {"7": HUG}))
    torch.testing.assert_close(triplet.boxes, torch.tensor([[0.0, 0, 0.6, 1], [0.4, 0, 1, 1]]))
    assert triplet.keypoints.shape == (2, 17, 3) and bool((triplet.keypoints[..., 2] == 1).all())
    assert check_assignments([triplet]) == [("right", (0, 1))]


@pytest.mark.parametrize(
    "fields, message",
    [
        (without("predicate", prompt="A lion and a polar bear on a lawn"), "the sentence .* tells none. Pass it as"),
        ({**HUG, "predicate": "hug"}, "`predicate` must be a list of one text, got 'hug'"),
        ({**HUG, "predicate": None}, "`predicate` must be a list of one text, got null"),
        ({**HUG, "predicate": []}, "`predicate` must be a list of one text"),
        ({**HUG, "predicate": ["hu"]}, "'hu' must stand in the prompt .* a part of 'hug' only"),
        ({**HUG, "entities": "lion"}, "`entities` must be a list of texts, got 'lion'"),
        ({**HUG, "entities": None}, "`entities` must be a list of texts, got null"),
        ({**HUG, "prompt": 3}, "`prompt` must be a text that is not blank, got 3"),
        ([1], "must be a JSON object of fields"),
    ],
)
def test_faults_name_the_sample_and_the_field(tmp_path, fields, message):
    save_released(tmp_path, {"4": fields})
    with pytest.raises(TripletError, match=f"sample 4: .*{message}"):
        read_triplets(tmp_path)


def test_damaged_files_are_faults_beside_others(tmp_path):
    save_released(tmp_path, {"0": {**HUG, "predicate": None}, "1": HUG})
    (tmp_path / "masks" / "0" / "motion0.png").write_bytes(b"\x89PNG")
    (tmp_path / "videos" / "0" / "motion_keyposes.pth").write_bytes(b"no pickle")
    torch.save([1.0], tmp_path / "videos" / "0" / "concept_keyposes_one.pth")
    with pytest.raises(TripletError) as caught:
        read_triplets(tmp_path)
    wanted = [
        "`predicate`",
        "motion0.png` is not a readable",
        "motion_keyposes.pth` cannot",
        "one.pth` must hold a tensor",
    ]
    assert len(caught.value.faults) == 4 and all(any(w in f for f in caught.value.faults) for w in wanted)
    assert [triplet.name for triplet in caught.value.readable] == ["sample 1"]


@pytest.mark.parametrize("text", ["[]", "{", "3", "\xe9"])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    (tmp_path / "prompts.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(TripletError, match="prompts.json`.*(must be a JSON object|is no JSON|is no UTF-8)"):
        read_triplets(tmp_path)


def test_it_is_never_written_into(tmp_path):
    triplets = read_triplets(save_released(tmp_path, {"0": HUG}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="is in the released layout, which is never written into. Copy it"):
        write_metadata(tmp_path, triplets)
    assert sorted(tmp_path.rglob("*")) == before


@needs_released
def test_the_released_triplets_have_exactly_one_swap():
    triplets = read_triplets(RELEASED)
    verdicts = [verdict for verdict, _ in check_assignments(triplets)]
    assert [i for i, verdict in enumerate(verdicts) if verdict == "swapped"] == [2]
    assert "swapped" not in [verdict for verdict, _ in check_assignments(repair_assignments(triplets))]
