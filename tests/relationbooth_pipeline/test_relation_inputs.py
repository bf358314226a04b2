"""Every form in which callers pass image prompts, boxes, masks and scales."""

import numpy as np
import pytest
import torch
from PIL import Image

from relationbooth_pipeline.relation_inputs import images_per_sample, phrases_per_sample, scales_per_sample
from relationbooth_pipeline.relation_regions import boxes_per_sample, mask_regions, masks_per_sample
from tests.tiny import photo

BOX = [0.0, 0.25, 0.5, 0.75]
MASK = np.zeros((4, 6), dtype=bool)
MASK[1:3, :3] = True


@pytest.mark.parametrize("boxes", [[BOX], [tuple(BOX)], np.array([BOX]), torch.tensor([BOX]), [[BOX]], [np.array(BOX)]])
def test_boxes_of_one_prompt(boxes):
    assert boxes_per_sample(boxes, [1]) == [[BOX]]


@pytest.mark.parametrize(
    "mask",
    [
        MASK,
        MASK.astype(np.uint8),
        MASK.astype(np.uint8) * 255,
        MASK.astype(np.float32),
        torch.from_numpy(MASK),
        torch.from_numpy(MASK).bfloat16(),
        torch.from_numpy(MASK.astype(np.uint8) * 255),
        Image.fromarray(MASK.astype(np.uint8) * 255),
        Image.fromarray(MASK),
    ],
    ids=["bool", "0 and 1", "0 and 255", "float", "tensor", "bfloat16", "uint8 tensor", "grey image", "bilevel image"],
)
def test_masks_of_every_kind(mask):
    assert torch.equal(masks_per_sample([mask], [1])[0][0], torch.from_numpy(MASK))


def test_a_mask_from_a_file(tmp_path):
    Image.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    assert torch.equal(masks_per_sample([tmp_path / "mask.png"], [1])[0][0], torch.from_numpy(MASK))


@pytest.mark.parametrize("scale", [0.5, np.float32(0.5), torch.tensor(0.5), [0.5, 0.5], np.array([0.5, 0.5])])
def test_scales_of_one_prompt(scale):
    assert scales_per_sample(scale, [2]) == [[0.5, 0.5]]


def test_a_batch_is_nested_and_may_hold_prompts_without_image_prompts():
    samples = images_per_sample([[photo(0), photo(1)], []], 2)
    assert [len(sample) for sample in samples] == [2, 0]
    assert phrases_per_sample([["cat", "bear"], []], [2, 0]) == [["cat", "bear"], []]
    assert scales_per_sample([[0.1, 0.2], []], [2, 0]) == [[0.1, 0.2], []]
    assert boxes_per_sample([[], [BOX]], [0, 1]) == [[], [BOX]]
    grid = mask_regions(masks_per_sample([[], [MASK]], [0, 1]), 2, 2)
    assert grid.tolist() == [[[[False] * 2] * 2], [[[True, False]] * 2]]


def test_one_image_and_one_phrase_need_no_list(tmp_path):
    photo().save(tmp_path / "cat.png")
    assert len(images_per_sample(str(tmp_path / "cat.png"), 1)[0]) == 1
    assert phrases_per_sample("cat", [1]) == [["cat"]]
