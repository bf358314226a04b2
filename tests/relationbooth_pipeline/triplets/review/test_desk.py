"""What the review shows and keeps: decisions that fit, refusals that write nothing, a server for this page alone."""

import json
import os
import threading
import urllib.error
import urllib.request

import pytest

from relationbooth_pipeline.triplets.annotation import ExportOptions, export, review_notes
from relationbooth_pipeline.triplets.annotation.decisions import DECISIONS
from relationbooth_pipeline.triplets.engine import WorkFolder
from relationbooth_pipeline.triplets.review import Desk, review_server

from ..annotation.drawn import LEFT, MIDDLE, RIGHT, annotated, decide, draw, save_pictures


@pytest.fixture
def work(tmp_path):
    return annotated(tmp_path / "work", save_pictures(tmp_path / "pictures"))


@pytest.fixture
def desk(work):
    return Desk(work)


def lines(work):
    file = work.root / DECISIONS
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def test_the_listing_is_what_the_stages_found(desk):
    shown = {entry["id"]: entry for entry in desk.listing()}
    assert list(shown) == ["hug", "hug-2"]
    entry = shown["hug"]
    assert entry["phrases"] == ["cat", "dog"] and entry["predicate"] == "hugging" and entry["decision"] is None
    assert sum(entry["boxes"], []) == pytest.approx([*LEFT, *RIGHT], abs=0.02) and not entry["is_stale"]
    assert (entry["target"]["width"], entry["target"]["height"]) == (60, 40)
    assert len(entry["keypoints"]["target"][0]) == 17 and len(entry["masks"]) == 2


def test_decisions_are_added_never_overwritten_and_the_export_follows_the_last(desk, work, tmp_path):
    desk.decide({"candidate": "hug", "decision": "reject"})
    desk.decide({"candidate": "hug-2", "decision": "accept", "prompt": "a cat is hugging my dog", "other": 1})
    shown = desk.decide({"candidate": "hug", "decision": "accept"})
    assert shown["decision"] == "accept" and [line["decision"] for line in lines(work)] == [
        "reject",
        "accept",
        "accept",
    ]
    assert "other" not in lines(work)[1] and lines(work)[0]["time"]
    assert desk.counts() == {"accept": 2, "stale": 0}
    export(work, tmp_path / "triplets", ExportOptions())
    text = (tmp_path / "triplets" / "metadata.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["prompt"] for line in text.splitlines()][1] == "a cat is hugging my dog"


@pytest.mark.parametrize("name, boxes", [("hug", {"cat": RIGHT, "dog": LEFT}), ("hug_object_1", {"dog": MIDDLE})])
def test_what_was_decided_about_a_picture_does_not_hold_for_another_of_its_name(desk, work, tmp_path, name, boxes):
    before = desk.listing()[0]
    points, words = before["keypoints"], {"prompt": "a tabby is hugging a puppy", "phrases": ["tabby", "puppy"]}
    points["target"][0][0] = [0.12, 0.34, 1]
    edits = {"boxes": [list(MIDDLE), list(RIGHT)], "keypoints": points, **words}
    desk.decide({"candidate": "hug", "decision": "accept", **edits})
    draw(tmp_path / "pictures" / f"{name}.png", **boxes)
    annotated(work.root, tmp_path / "pictures")
    with pytest.raises(ValueError, match="nobody has looked at the [12] of 2 candidates"):
        export(work, tmp_path / "out", ExportOptions())
    [note] = review_notes(work)
    assert note.startswith("candidate hug: decided about another picture, so the decision is not applied. Look again: ")
    anew = Desk(work)
    shown = anew.listing()[0]
    assert shown["is_outdated"] and shown["decision"] is None and shown["prompt"] == "a cat is hugging a dog"
    placed = [boxes.get("cat", LEFT), boxes["dog"] if name == "hug" else RIGHT]
    assert sum(shown["boxes"], []) == pytest.approx(sum(map(list, placed), [])) and not any(shown["edited"].values())
    assert shown["keypoints"]["target"][0][0] != [0.12, 0.34, 1]
    seen = [picture["digest"] for picture in (before["target"], *before["objects"])]  # a page left open meanwhile
    with pytest.raises(ValueError, match="`pictures` must be those that the folder holds now. Reload the page"):
        anew.decide({"candidate": "hug", "decision": "accept", "pictures": seen})
    assert not anew.decide({"candidate": "hug", "decision": "accept"})["is_outdated"] and not [*review_notes(work)]
    assert export(work, tmp_path / "out", ExportOptions()).reviewed == 1


def test_a_line_without_pictures_holds_for_those_that_are_there(desk, work):
    decide(work, {"candidate": "hug", "decision": "reject"})  # as earlier versions wrote it
    assert desk.listing()[0]["decision"] == "reject" and not [*review_notes(work)]


def test_exchanged_objects_change_places_at_once_and_moved_boxes_wait_for_new_masks(desk):
    before = desk.listing()[0]
    after = desk.decide({"candidate": "hug", "decision": "accept", "exchanged": True})
    assert after["boxes"] == before["boxes"][::-1] and after["masks"] == before["masks"][::-1]
    assert after["keypoints"]["target"] == before["keypoints"]["target"][::-1] and after["is_stale"]
    assert after["keypoints"]["objects"] == before["keypoints"]["objects"]
    moved = [[0.0, 0.2, 0.5, 0.9], list(RIGHT)]
    shown = desk.decide({"candidate": "hug", "decision": "accept", "boxes": moved})
    assert sum(shown["boxes"], []) == pytest.approx(sum(moved, [])) and shown["edited"]["boxes"] and shown["is_stale"]
    assert desk.counts()["stale"] == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"candidate": "kiss"}, "`candidate` must be one of this folder's"),
        ({"decision": "perhaps"}, "`decision` must be accept or reject, got 'perhaps'"),
        ({"boxes": [[0, 0, 1, 1]]}, r"`boxes` must be one per object \(2\), got 1"),
        ({"boxes": [[0.5, 0, 0.2, 1], [0, 0, 1, 1]]}, "box"),
        ({"phrases": ["cat", "bear"]}, "'bear' must stand in the sentence 'a cat is hugging a dog' as whole words"),
        ({"phrases": ["cat", "sk-sentinel0123456789"]}, "`decision` holds what looks like a key"),
        ({"prompt": "a cat and a dog"}, "must stand in the sentence 'a cat and a dog'"),
        ({"keypoints": {"target": [[[0, 0, 1]] * 17]}}, r"`target` must be one per object \(2\), got 1"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_and_not_kept(desk, work, change, message):
    with pytest.raises(ValueError, match=message):
        desk.decide({"candidate": "hug", "decision": "accept", **change})
    assert not lines(work)


def test_a_line_of_which_a_full_disk_took_a_part_is_taken_back(desk, work, monkeypatch):
    reject, write = {"candidate": "hug", "decision": "reject"}, os.write
    desk.decide({"candidate": "hug", "decision": "accept"})
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, data: write(handle, data[:20]))
        with pytest.raises(OSError, match="No space left"):
            desk.decide(reject)
    assert len(lines(work)) == 1 and desk.decide(reject)["decision"] == "reject" and len(lines(work)) == 2


def test_a_line_that_a_death_tore_is_passed_over_and_dropped_with_the_next_decision(desk, work):
    desk.decide({"candidate": "hug", "decision": "accept"})
    with (work.root / DECISIONS).open("ab") as file:
        file.write('{"candidate": "hug", "prompt": "é'.encode()[:-1])  # within a letter
    assert desk.listing()[0]["decision"] == "accept"
    desk.decide({"candidate": "hug-2", "decision": "reject"})
    assert [line["decision"] for line in lines(work)] == ["accept", "reject"]


def test_a_folder_without_filtered_candidates_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no candidate that the filters have seen"):
        Desk(WorkFolder(tmp_path))


@pytest.fixture
def server(desk):
    with review_server(desk) as found:
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


def asked(url, data=None, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_nothing_but_the_page_and_its_pictures_is_served(server, work, desk):
    status, body, headers = asked(server)
    assert status == 200 and b"Review of triplets" in body
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    digest = desk.listing()[0]["target"]["digest"]
    assert asked(f"{server}/pictures/{digest}.png")[1] == work.picture_path(digest).read_bytes()
    for path in ("/plan.json", "/pictures/../plan.json", "/pictures/%2e%2e/plan.json", f"/pictures/{'0' * 32}.png",
                 f"/pictures/{digest}.json", "/desk.py"):  # fmt: skip
        assert asked(f"{server}{path}")[0] == 404, path


def test_other_pages_may_neither_read_nor_decide(server, work):
    line = json.dumps({"candidate": "hug", "decision": "accept"}).encode()
    assert asked(f"{server}/candidates.json", Host="evil.example")[0] == 403
    assert asked(f"{server}/decisions", line, Origin="https://evil.example")[0] == 403
    assert asked(f"{server}/decisions", b"x" * 300_000)[0] == 403
    assert not lines(work)
    assert asked(f"{server}/decisions", b"[]")[0] == asked(f"{server}/decisions", b"{")[0] == 400
    assert asked(f"{server}/decisions", line, Origin=server)[0] == 200 and len(lines(work)) == 1
