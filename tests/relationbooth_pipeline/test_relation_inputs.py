"""Every form in which callers pass image prompts, boxes, masks and scales."""

import numpy as np
import pytest
import torch

from relationbooth_pipeline.relation_inputs import images_per_sample, phrases_per_sample, scales_per_sample
from relationbooth_pipeline.relation_regions import boxes_per_sample, mask_regions, masks_per_sample
from tests.tiny import photo

BOX = [0.0, 0.25, 0.5, 0.75]
MASK = np.zeros((4, 6), dtype=bool)
MASK[1:3, :3] = True


@pytest.mark.parametrize("boxes", [[BOX], [tuple(BOX)], np.array([BOX]), torch.tensor([BOX]), [[BOX]], [np.array(BOX)]])
def test_boxes_of_one_prompt(boxes):
    assert boxes_per_sample(boxes, [1]) == [[BOX]]


@pytest.mark.parametrize("scale", [0.5, np.float32(0.5), torch.tensor(0.5), [0.5, 0.5], np.array([0.5, 0.5])])
def test_scales_of_one_prompt(scale):
    assert scales_per_sample(scale, [2]) == [[0.5, 0.5]]


def test_a_batch_is_nested_and_may_hold_prompts_without_image_prompts():
    samples = images_per_sample([[photo(0), photo(1)], []], 2)
    assert [len(sample) for sample in samples] == [2, 0]
    assert phrases_per_sample([["cat", "bear"], []], [2, 0]) == [["cat", "bear"], []]
    assert scales_per_sample([[0.1, 0.2], []], [2, 0]) == [[0.1, 0.2], []]
    for boxes in ([[], [BOX]], [np.zeros((0, 4)), torch.tensor([BOX])], [[], [np.array(BOX)]]):
        assert boxes_per_sample(boxes, [0, 1]) == [[], [BOX]]
    grid = mask_regions(masks_per_sample([[], [MASK]], [0, 1]), 2, 2)
    assert grid.tolist() == [[[[False] * 2] * 2], [[[True, False]] * 2]]


def test_one_image_and_one_phrase_need_no_list(tmp_path):
    photo().save(tmp_path / "cat.png")
    assert len(images_per_sample(str(tmp_path / "cat.png"), 1)[0]) == 1
    assert phrases_per_sample("cat", [1]) == [["cat"]]


WRONG_IMAGES = {
    "none": (None, 1, "must be a list of paths or PIL images, or one such list per prompt, got None"),
    "tensor": (torch.rand(2, 3, 8, 8), 1, r"got <Tensor of shape \(2, 3, 8, 8\)>. Turn arrays and tensors into PIL"),
    "array": (np.zeros((8, 8, 3)), 1, r"got <ndarray of shape \(8, 8, 3\)>"),
    "list of tensors": ([torch.rand(3, 8, 8)] * 2, 1, r"of prompt 0 must be paths or PIL images, got <Tensor of shape"),
    "list with none": ([photo(), None], 1, "of prompt 0 must be paths or PIL images, got None"),
    "flat and nested": ([photo(), [photo()]], 1, "of prompt 0 must be paths or PIL images, got \\[<PIL"),
    "deeper": ([[photo()], [[photo()]]], 2, "of prompt 1 must be paths or PIL images, got \\[<PIL"),
    "address": ("http://example.org/a.png", 1, "got the address `http://example.org/a.png`. Download it first"),
    "empty": ([], 1, "holds no image. Leave it out"),
    "number": (3, 1, "must be a list of paths or PIL images, .* got 3"),
}


@pytest.mark.parametrize("name", WRONG_IMAGES)
def test_image_prompts_of_other_kinds_get_short_messages(name):
    value, count, message = WRONG_IMAGES[name]
    with pytest.raises(ValueError, match=message) as caught:
        images_per_sample(value, count)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "phrases, message",
    [
        (None, "`phrases` must name each image prompt .* got None"),
        ([None, None], "`phrases` must be non-empty text, got None"),
        (["cat", ["bear"]], r"`phrases` must be non-empty text, got \['bear'\]"),
        (torch.rand(2, 99), r"`phrases` must name .* got <Tensor of shape \(2, 99\)>"),
        (["cat", " "], "`phrases` must be non-empty text, got ' '"),
        (["cat"], "prompt 0 has 2 image prompts and 1 phrases"),
    ],
)
def test_phrases_of_other_kinds_get_short_messages(phrases, message):
    with pytest.raises(ValueError, match=message):
        phrases_per_sample(phrases, [2])


def test_scales_that_were_set_before_are_told_by_their_own_name():
    assert scales_per_sample(None, [2, 1], 0.3) == [[0.3, 0.3], [0.3]]
    assert scales_per_sample(None, [2], [0.3, 0.9]) == [[0.3, 0.9]]
    with pytest.raises(ValueError, match="`set_image_prompt_scale` set 2 numbers, .* has 3. Give it `image_prompt_sc"):
        scales_per_sample(None, [3], [0.3, 0.9])
    with pytest.raises(ValueError, match="`set_image_prompt_scale` set 2 numbers, .* this call has 2 and 2"):
        scales_per_sample(None, [2, 2], [0.3, 0.9])


def test_numbers_in_messages_are_few():
    with pytest.raises(ValueError, match=r"`image_prompt_scale` must hold numbers, got \[<Tensor") as caught:
        scales_per_sample([torch.rand(500)], [1])
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="`masks`: a mask must be a path, a PIL image, an array or a tensor, got int"):
        masks_per_sample([3], [1])
    with pytest.raises(ValueError, match="`masks` must each cover at least one pixel"):
        masks_per_sample([np.zeros((4, 6))], [1])
