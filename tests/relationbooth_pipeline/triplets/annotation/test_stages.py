"""The chain on drawn blocks: what it finds is known; what is done is not done again."""

import json

import numpy as np
import pytest
import torch

from relationbooth_pipeline.parallel import Share
from relationbooth_pipeline.triplets.annotation import STAGES, Thresholds, annotate, keep_pictures
from relationbooth_pipeline.triplets.annotation.likeness import cut_out, difference
from relationbooth_pipeline.triplets.photos import read_pictures

from . import drawn
from .drawn import LEFT, RIGHT, annotated, choices, save_pictures

ROLES = ["boxes", "masks", "keypoints", "captions", "likeness", "judge"]


@pytest.fixture
def pictures(tmp_path):
    return save_pictures(tmp_path / "pictures")


def test_the_chain_finds_what_is_drawn(tmp_path, pictures):
    work = annotated(tmp_path / "work", pictures)
    find, segment, keypoints, caption, likeness, relation, accepted = (work.record(s, "hug") for s in STAGES)
    assert find["target"] == [[[*LEFT, 0.9]], [[*RIGHT, 0.9]]]
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(LEFT, drawn.SIZE * 2))
    wanted = np.zeros(drawn.SIZE[::-1], dtype=bool)
    wanted[y0:y1, x0:x1] = True
    assert (work.mask(segment["target"][0]) == wanted).all()
    assert keypoints["order"] == "AP-10K" and np.array(keypoints["objects"]).shape == (2, 17, 3)
    assert caption["prompt"] == "a cat is hugging a dog" and caption["source"] == "template"
    assert "the captioner's sentence 'a cat and a dog hug' lacks 'hugging'" in caption["note"]
    assert likeness["similarity"][0][0] > 0.9 > likeness["similarity"][0][1]
    assert relation["target"] == 0.9 and relation["objects"] == [0.2, 0.2]
    assert accepted["accepted"] and accepted["reasons"] == []
    assert [record["annotator"] for record in (find, segment, accepted)] == ["boxes 1", "masks 1", None]
    visible = np.array(accepted["keypoints"]["target"])[..., 2]
    assert visible[:, :16].all() and not visible[:, 16].any()  # one lies outside the picture
    assert json.loads((work.root / "thresholds.json").read_text())["box_score"]["value"] == 0.3


def test_one_model_at_a_time_and_what_is_done_is_not_done_again(tmp_path, pictures):
    alive, most = set(), []

    def counted(role, made):
        class Counted(made):
            def __init__(self):
                alive.add(role)
                most.append(len(alive))

            def free(self):
                alive.discard(role)

        return Counted

    every = {role: counted(role, made) for role, made in drawn.CLASSES.items()}
    loads: list[str] = []
    work = annotated(tmp_path / "work", pictures, loads, **every)
    assert loads == ROLES and set(most) == {1} and not alive
    before = {file: file.stat().st_mtime_ns for file in work.root.rglob("*.*")}
    annotated(tmp_path / "work", pictures, loads)
    assert loads == ROLES and {f: f.stat().st_mtime_ns for f in before} == before


def test_other_weights_are_asked_anew_and_so_is_whoever_read_them(tmp_path, pictures):
    class OtherMasks(drawn.Masks):
        checkpoint = "masks 2"

        def segment(self, image, box, phrase):
            inside = super().segment(image, box, phrase)
            inside[: image.height // 4] = False  # other pixels: who reads masks has other inputs
            return inside

    loads: list[str] = []
    work = annotated(tmp_path / "work", pictures)
    keypoints = work.record("keypoints", "hug")
    annotated(tmp_path / "work", pictures, loads, masks=OtherMasks)
    assert loads == ["masks", "likeness"]  # neither boxes nor keypoints nor the judge read masks
    assert work.record("segment", "hug")["annotator"] == "masks 2" and work.record("keypoints", "hug") == keypoints


def test_thresholds_change_without_a_model(tmp_path, pictures):
    loads: list[str] = []
    work = annotated(tmp_path / "work", pictures)
    annotated(tmp_path / "work", pictures, loads, thresholds=Thresholds().changed(["identity=1.5", "box_area=0.5"]))
    record = work.record("filter", "hug")
    assert not loads and {r["rule"] for r in record["reasons"]} == {"area", "area_alone", "identity"}
    reason = next(r for r in record["reasons"] if r["rule"] == "area" and r["object"] == 0)
    assert reason["threshold"] == 0.5 and reason["figure"] == pytest.approx(0.4 * 0.7)
    assert reason["sentence"] == "'cat' takes 28.0% of the target."
    assert record["figures"]["area"] == {"0": pytest.approx(0.28), "1": pytest.approx(0.28)}
    assert json.loads((work.root / "thresholds.json").read_text())["box_area"]["value"] == 0.5


def test_without_keypoints_all_are_unseen_and_no_rule_asks_for_them(tmp_path, pictures):
    work = annotated(tmp_path / "work", pictures, keypoints=None, likeness=None, judge=None)
    record = work.record("filter", "hug")
    assert work.record("keypoints", "hug")["order"] is None and record["accepted"]
    assert not np.any(record["keypoints"]["target"]) and not any("keypoint" in rule for rule in record["figures"])
    assert not {"identity", "relation"} & set(record["figures"]) and "another_pose" in record["figures"]


def test_a_copy_of_the_target_s_crop_is_refused(tmp_path, pictures):
    drawn.draw(pictures / "hug_object_0.png", cat=LEFT)  # as it stands in the target
    work = annotated(tmp_path / "work", pictures)
    assert [r["rule"] for r in work.record("filter", "hug")["reasons"]] == ["another_pose"]
    assert work.record("filter", "hug-2")["accepted"]


def test_exchanged_image_prompts_are_refused(tmp_path, pictures):
    first, second = (pictures / f"hug_object_{i}.png" for i in range(2))
    first.rename(pictures / "x")
    second.rename(first)
    (pictures / "x").rename(second)
    reasons = annotated(tmp_path / "work", pictures).record("filter", "hug")["reasons"]
    assert [(r["rule"], r["object"]) for r in reasons if r["rule"].startswith("box")] == [
        ("box_alone", 0),
        ("box_alone", 1),
    ]


def test_shards_do_what_one_run_does(tmp_path, pictures):
    whole = annotated(tmp_path / "whole", pictures)
    parts = drawn.WorkFolder(tmp_path / "parts")
    keep_pictures(parts, read_pictures(pictures, ["cat", "dog"], "hugging"))
    for index in range(2):
        made = annotate(parts, choices(), Thresholds(), Share(index, 2))
        assert set(made.values()) == {1}
    for stage in STAGES:
        for name in ("hug", "hug-2"):
            assert parts.record(stage, name) == whole.record(stage, name)


def test_a_stage_needs_those_before_it(tmp_path, pictures):
    work = drawn.WorkFolder(tmp_path / "work")
    keep_pictures(work, read_pictures(pictures, ["cat", "dog"], "hugging"))
    assert list(annotate(work, choices(), Thresholds(), until="segment")) == ["find", "segment"]
    with pytest.raises(ValueError, match="stage 'filter' needs stage 'keypoints'. Run it first."):
        STAGES["filter"][0](work, Thresholds()).run(work.candidates())
    with pytest.raises(ValueError, match="`until` must be one of find, .*got 'draw'"):
        annotate(work, choices(), Thresholds(), until="draw")


def test_a_mask_of_another_size_is_refused(tmp_path, pictures):
    class Wrong(drawn.Masks):
        def segment(self, image, box, phrase):
            return torch.ones(3, 4, dtype=torch.bool)

    with pytest.raises(ValueError, match=r"gave a mask of shape \(3, 4\) for a picture of 40×60"):
        annotated(tmp_path / "work", pictures, masks=Wrong)


def test_a_given_sentence_holds(tmp_path, pictures):
    work = annotated(tmp_path / "work", pictures, prompt="On a beach a cat hugging a dog")
    assert work.record("caption", "hug")["source"] == "given"
    assert work.record("caption", "hug")["prompt"] == "On a beach a cat hugging a dog"


def test_other_pictures_do_not_mix_into_a_work_folder(tmp_path, pictures):
    annotated(tmp_path / "work", pictures)
    other = save_pictures(tmp_path / "other", names=("dance",))
    with pytest.raises(ValueError, match=r"is about other pictures too \(hug, hug-2\). Choose another `--work`"):
        annotated(tmp_path / "work", other)


def test_a_cut_out_holds_the_object_alone():
    picture = drawn.Image.new("RGB", (8, 6), "red")
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 1:7] = True
    mask[3, 1] = False
    cut = np.asarray(cut_out(picture, mask))
    assert cut.shape == (6, 6, 3)
    assert [(row == [255, 0, 0]).all(-1).sum() for row in cut] == [0, 0, 6, 5, 0, 0]
    assert difference(picture, picture) == 0 and difference(picture, None) is None
    assert difference(picture, drawn.Image.new("RGB", (3, 3), "white")) == pytest.approx(2 / 3)
