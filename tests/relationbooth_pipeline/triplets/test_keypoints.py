import pytest
import torch

from relationbooth_pipeline.triplets import keypoint_verdict, read_triplets, refuse_swapped

from .folders import filled, points


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_swaps_are_found_although_masks_overlap(overlap):
    left, right = [0.0, 0.0, 0.5 + overlap / 2, 1.0], [0.5 - overlap / 2, 0.0, 1.0, 1.0]
    masks, keypoints = [filled(left), filled(right)], torch.stack([points(left, seed=1), points(right, seed=2)])
    assert keypoint_verdict(masks, keypoints) == ("right", (0, 1))
    assert keypoint_verdict(masks, keypoints.flip(0)) == ("swapped", (1, 0))


def test_equal_masks_are_undecidable_and_one_object_is_right():
    whole, keypoints = filled([0, 0, 1, 1]), torch.stack([points([0, 0, 1, 1], seed=i) for i in range(2)])
    assert keypoint_verdict([whole, whole], keypoints)[0] == "undecidable"
    assert keypoint_verdict([whole], keypoints[:1]) == ("right", (0,))


def test_three_objects_in_a_circle():
    boxes = [[0, 0, 0.4, 1], [0.3, 0, 0.7, 1], [0.6, 0, 1, 1]]
    keypoints = torch.stack([points(box, seed=i) for i, box in enumerate(boxes)])
    verdict, order = keypoint_verdict([filled(box) for box in boxes], keypoints[[1, 2, 0]])
    assert verdict == "swapped" and torch.equal(keypoints[[1, 2, 0]][list(order)], keypoints)


def test_invisible_keypoints_have_no_vote():
    left, right = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
    keypoints = torch.stack([points(left, seed=1), points(right, seed=2)])
    keypoints[:, :8] = torch.tensor([[[0.9, 0.5, 0.0]], [[0.1, 0.5, 0.0]]])
    assert keypoint_verdict([filled(left), filled(right)], keypoints)[0] == "right"


def test_the_refusal_names_the_swapped_ones_and_what_to_do(folder):
    (triplet,) = read_triplets(folder)
    refuse_swapped([triplet], "Mend it.")
    triplet.keypoints = triplet.keypoints.flip(0)
    with pytest.raises(ValueError, match="the keypoints of line 1 are listed in another object's place. Mend it."):
        refuse_swapped([triplet], "Mend it.")
