"""What people decided: the last line of a candidate holds, and is exported where it fits the candidate."""

import pytest
import torch

from relationbooth_pipeline.triplets import check_assignments, read_triplets
from relationbooth_pipeline.triplets.annotation import ExportOptions, Thresholds, annotate, export
from relationbooth_pipeline.triplets.annotation.decisions import read_decisions

from . import drawn
from .drawn import LEFT, RIGHT, annotated, choices, decide, save_pictures

UNSEEN = ExportOptions(accept_all=True)


def test_the_last_decision_of_a_candidate_holds(work, tmp_path):
    decide(work, {"candidate": "hug", "decision": "accept"}, {"candidate": "hug-2", "decision": "accept"})
    decide(work, {"candidate": "hug", "decision": "reject"})
    facts = export(work, tmp_path / "out", ExportOptions())
    assert [t.image.name for t in read_triplets(tmp_path / "out")] == ["hug-2.png"] and facts.reviewed == 1


def test_undecided_ones_follow_the_filters_only_where_all_are_accepted(work, tmp_path):
    decide(work, {"candidate": "hug", "decision": "accept"})
    assert export(work, tmp_path / "some", ExportOptions()).exported == 1
    facts = export(work, tmp_path / "all", UNSEEN)
    assert (facts.exported, facts.reviewed) == (2, 1)
    assert "Nobody has looked at 1 of these" in (tmp_path / "all" / "README.md").read_text()


def test_edited_words_and_keypoints_are_exported(work, tmp_path):
    points = torch.rand(2, 17, 3, generator=torch.Generator().manual_seed(0)).round(decimals=3)
    words = {"prompt": "a tabby is hugging a puppy", "phrases": ["tabby", "puppy"]}
    decide(work, {"candidate": "hug", "decision": "accept", "keypoints": {"target": points.tolist()}, **words})
    export(work, tmp_path / "out", ExportOptions())
    (triplet,) = read_triplets(tmp_path / "out")
    torch.testing.assert_close(triplet.keypoints, points)
    assert triplet.phrases == ["tabby", "puppy"] and triplet.prompt == words["prompt"]
    untouched = torch.tensor(work.record("filter", "hug")["keypoints"]["objects"])
    torch.testing.assert_close(triplet.image_prompt_keypoints, untouched)


def test_exchanged_objects_change_places(work, tmp_path):
    decide(work, {"candidate": "hug", "decision": "accept", "exchanged": True})
    annotate(work, choices(), Thresholds())
    export(work, tmp_path / "out", ExportOptions())
    (triplet,) = read_triplets(tmp_path / "out")
    torch.testing.assert_close(triplet.boxes, torch.tensor([RIGHT, LEFT]))
    assert check_assignments([triplet])[0][0] == "right" and triplet.phrases == ["cat", "dog"]


@pytest.mark.parametrize(
    "line, message",
    [
        ({"decision": "accept"}, "line 1: lacks 'candidate'"),
        ({"candidate": "hug", "decision": "yes"}, "`decision` must be accept or reject, got 'yes'"),
        ({"candidate": "hug", "decision": "accept", "boxes": [[0, 0, 2, 1]] * 2}, "`boxes`"),
        ({"candidate": "hug", "decision": "accept", "boxes": [[0, 0, 1]]}, "`boxes` must hold four finite numbers"),
        (
            {"candidate": "hug", "decision": "accept", "keypoints": {"target": [[[0, 0, 2]] * 17]}},
            "`target` must be N × 17",
        ),
        ({"candidate": "hug", "decision": "accept", "exchanged": "no"}, "`exchanged` must be true or false"),
        ([1], "must be a JSON object"),
    ],
)
def test_decisions_that_say_nothing_are_refused_by_their_line(work, line, message):
    decide(work, line)
    with pytest.raises(ValueError, match=f"decisions.jsonl line 1: .*{message}|{message}"):
        read_decisions(work.root)


@pytest.mark.parametrize(
    "line, message",
    [
        ({"candidate": "kiss", "decision": "accept"}, "decisions about candidates that are not there: kiss"),
        ({"candidate": "hug", "decision": "reject"}, "none of 2 candidates is left.* by hand: 1"),
        (
            {"candidate": "hug", "decision": "accept", "phrases": ["cat", "cow"]},
            "candidate hug: `phrases`: 'cow' must stand",
        ),
        ({"candidate": "hug", "decision": "accept", "boxes": [list(LEFT)]}, r"one per phrase \(2\), got 1"),
    ],
)
def test_decisions_that_do_not_fit_stop_the_export_whole(work, tmp_path, line, message):
    decide(work, line)
    with pytest.raises(ValueError, match=message):
        export(work, tmp_path / "out", ExportOptions())
    assert not (tmp_path / "out").exists()


def test_who_is_accepted_by_hand_needs_a_box(tmp_path):
    work = annotated(tmp_path / "work", save_pictures(tmp_path / "pictures", cat=LEFT))  # no dog in the target
    decide(work, {"candidate": "hug", "decision": "accept"})
    with pytest.raises(
        ValueError, match="candidate hug was accepted, but 'dog' has no box in the target. Draw its box"
    ):
        export(work, tmp_path / "out", ExportOptions())


def test_a_person_may_have_seen_an_object_that_no_model_found_in_its_own_picture(work, tmp_path):
    drawn.draw(tmp_path / "pictures" / "hug_object_1.png", cat=LEFT)  # no dog
    annotated(work.root, tmp_path / "pictures")
    assert export(work, tmp_path / "without", ExportOptions(accept_all=True)).exported == 1, "of two"
    decide(work, {"candidate": "hug", "decision": "accept"})
    facts = export(work, tmp_path / "out", ExportOptions())
    assert (facts.exported, facts.reviewed, facts.accepted) == (1, 1, 1), "the one that the filter refused"
