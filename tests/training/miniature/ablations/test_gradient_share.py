"""λ by its share of the gradient, at toy length on the shipped weights."""

import json

import pytest
from accelerate import PartialState

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import miniature
from training.miniature.ablations import gradient_share
from training.miniature.stages import relation_loras
from training.miniature.stages.relation_loras import training_arguments

TOY = {"max_train_steps": 1, "train_batch_size": 4, "views_per_triplet": 1}


def test_a_share_of_the_gradient_is_that_share(tmp_path, monkeypatch):
    """λ·∇L_keypoint is so long, once the norms are known; a gate leaves less of it."""
    monkeypatch.setattr(relation_loras, "TRIPLETS", 2)
    PartialState._reset_state()  # as in a process in which nothing has trained
    share, found = 0.3, {}
    for name, chosen in {
        "matching": {},
        "gated": {"kml_max_timestep": 333},
        "at": {"keypoint_loss": "denoising"},
    }.items():
        arguments = training_arguments(miniature.path(), tmp_path / name, "hugging", **TOY, **chosen)
        weight = gradient_share.keypoint_weight(arguments, share, tmp_path / f"{name}.json", batches=1)
        norms = json.loads((tmp_path / f"{name}.json").read_text())
        assert weight * norms["keypoint"] == pytest.approx(share * norms["denoising"])
        twice = gradient_share.keypoint_weight(arguments, 2 * share, tmp_path / f"{name}.json")
        assert twice == pytest.approx(2 * weight)
        found[name] = norms
    assert found["matching"]["denoising"] == found["gated"]["denoising"] == found["at"]["denoising"] > 0
    assert found["gated"]["keypoint"] < found["matching"]["keypoint"]
    assert len({norms["keypoint"] for norms in found.values()}) == 3


def test_a_loss_that_sees_no_keypoint_has_no_share(tmp_path):
    (tmp_path / "norms.json").write_text('{"denoising": 1.0, "keypoint": 0.0}')
    with pytest.raises(ValueError, match="`share` 0.1 cannot be reached: the keypoint loss is 0 in all 16 batches"):
        gradient_share.keypoint_weight([], 0.1, tmp_path / "norms.json")
