import torch

from relationbooth_pipeline.relation_layouts import AutomaticLayout, side_by_side
from relationbooth_pipeline.relation_regions import (
    attention_grids,
    bounding_boxes,
    mask_regions,
    region_masks,
    shrink_masks,
    token_masks,
)


def test_region_masks_match_a_loop_on_a_grid_that_is_not_square():
    boxes = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)).sort(-1).values[:, [0, 1, 2, 3]]
    masks = region_masks(boxes, 5, 8)
    for box, mask in zip(boxes.tolist(), masks):
        for row in range(5):
            for column in range(8):
                # A cell is touched when its half-open square meets the box in both axes.
                inside = column < box[2] * 8 and column + 1 > box[0] * 8 and row < box[3] * 5 and row + 1 > box[1] * 5
                assert bool(mask[row, column]) == inside


def test_an_all_zero_box_covers_nothing_and_a_full_box_everything():
    masks = region_masks(torch.tensor([[0.0, 0, 0, 0], [0, 0, 1, 1]]), 4, 6)
    assert not masks[0].any() and masks[1].all()


def test_a_filled_mask_gives_the_cells_of_its_bounding_box():
    mask = torch.zeros(60, 90, dtype=torch.bool)
    mask[13:40, 20:77] = True
    box = bounding_boxes(mask)
    torch.testing.assert_close(box, torch.tensor([20 / 90, 13 / 60, 77 / 90, 40 / 60]))
    for height, width in ((8, 8), (7, 5), (30, 45)):
        assert torch.equal(shrink_masks(mask, height, width), region_masks(box, height, width))


def test_masks_and_their_boxes_give_the_same_cells_on_every_level_of_every_odd_size():
    for side in range(5, 130, 2):
        pixels = 8 * side
        for start, stop in ((pixels // 3, 2 * pixels // 3), (0, pixels // 2), (pixels // 5, pixels - 3), (8, 16)):
            mask = torch.zeros(2, pixels, dtype=torch.bool)
            mask[:, start:stop] = True
            for _, width in attention_grids(side, side, levels=3):
                found = mask_regions([[mask]], 1, width)[0, 0, 0]
                touched = [c * pixels < stop * width and (c + 1) * pixels > start * width for c in range(width)]
                assert found.tolist() == touched
                assert region_masks(bounding_boxes(mask), 1, width)[0].tolist() == touched


def test_a_thin_box_covers_the_cell_that_it_lies_in():
    for x in (0.0, 0.3, 0.5, 0.9999999):
        box = torch.tensor([x, 0.0, min(1.0, x + 1e-7), 1.0])
        assert region_masks(box, 1, 8)[0].nonzero().flatten().tolist() == [min(7, int(x * 8))]


def test_the_last_row_and_column_belong_to_a_full_mask():
    assert bounding_boxes(torch.ones(5, 7, dtype=torch.bool)).tolist() == [0, 0, 1, 1]
    assert bounding_boxes(torch.zeros(5, 7, dtype=torch.bool)).tolist() == [0, 0, 0, 0]


def test_grids_round_up_as_the_unets_convolutions_do():
    conv = torch.nn.Conv2d(1, 1, 3, stride=2, padding=1)
    for size in ((9, 12), (15, 8), (3, 2)):
        image, expected = torch.zeros(1, 1, *size), [size]
        for _ in range(2):
            image = conv(image)
            expected.append(tuple(image.shape[-2:]))
        assert attention_grids(*size, levels=3) == expected


def test_background_tokens_are_read_exactly_where_no_object_is():
    regions = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.6
    masks = token_masks(regions, tokens_per_object=2, background_tokens=3)
    assert masks.shape == (2, 1, 20, 3 + 6)
    covered = regions.any(1).flatten(1)
    assert torch.equal(masks[:, 0, :, 0], ~covered)
    assert torch.equal(masks[:, 0, :, 3:5].all(-1), regions[:, 0].flatten(1))


def test_side_by_side_boxes_fill_the_width_without_overlap():
    boxes = side_by_side(4)
    assert boxes[0][0] == 0 and boxes[-1][2] == 1
    assert all(left[2] == right[0] for left, right in zip(boxes, boxes[1:]))


def test_automatic_layout_keeps_layers_apart_and_starts_when_told():
    boxes = {6: torch.ones(1, 1, 6, 2, dtype=torch.bool)}
    layout = AutomaticLayout(torch.tensor([[[1, 2]]]), boxes, mask_threshold=0.5, start_step=2, tokens_per_object=2)
    probabilities = torch.full((1, 1, 6, 4), 0.1)
    probabilities[0, 0, :2, 1] = 0.7
    assert layout.masks("a", probabilities) is boxes[6]
    assert layout.masks("b", probabilities) is boxes[6]
    found = layout.masks("a", probabilities)
    assert found[0, 0, :, 0].tolist() == [True, True, False, False, False, False]
