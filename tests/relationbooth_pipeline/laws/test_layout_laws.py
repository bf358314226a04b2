"""Automatic layout against loops, and what a box without area covers."""

import pytest
import torch

from relationbooth_pipeline.relation_conditioning import RelationConditioningMixin
from relationbooth_pipeline.relation_layouts import AutomaticLayout, side_by_side
from relationbooth_pipeline.relation_regions import RelationMetadata, attention_grids, check_box, region_masks
from tests.tiny import tiny_adapter, tiny_unet

SPANS = torch.tensor([[[1, 3], [4, 5], [0, 0]]])
THRESHOLD, START = 0.3, 3


def loops(history, threshold):
    """Allowed tokens [P][objects] from the text probabilities (H, P, T) of all calls so far, in plain Python."""
    heads, positions, _ = history[0].shape
    columns = []
    for start, end in SPANS[0].tolist():
        mean = []
        for p in range(positions):
            values = [
                sum(call[h, p, t].item() for h in range(heads) for t in range(start, end)) / heads / max(1, end - start)
                for call in history
            ]
            mean.append(sum(values) / len(values))
        low, high = min(mean), max(mean)
        columns.append([(m - low) / (high - low + 1e-5) > threshold for m in mean])
    return [list(row) for row in zip(*columns)]


@pytest.mark.parametrize("contrast", [1.0, 1e-4])
def test_automatic_layout_is_its_formula(contrast):
    """Mean over heads, tokens and all calls so far, from the least to the largest on [0, 1], cut at the threshold. At
    a contrast of 1e-4 the denominator's offset takes a good part of the scale. Without a span nothing is covered."""
    generator = torch.Generator().manual_seed(0)
    boxes = {12: torch.zeros(1, 1, 12, 6, dtype=torch.bool)}
    layout = AutomaticLayout(SPANS, boxes, THRESHOLD, START, tokens_per_object=2)
    history, differ = [], 0
    for call in range(1, 7):
        noise = torch.rand(3, 12, 6, generator=generator, dtype=torch.float64).float()
        history.append(contrast * (0.4 + noise))
        found = layout.masks("layer", history[-1][None])
        if call < START:
            assert found is boxes[12]
            continue
        expected = loops(history, THRESHOLD)
        assert found[0, 0, :, ::2].tolist() == expected == found[0, 0, :, 1::2].tolist()
        assert any(map(any, expected)) and not any(row[2] for row in expected)
        differ += expected != loops(history[-1:], THRESHOLD)
    assert differ or contrast < 1


def test_a_phrase_s_map_is_the_mean_over_its_tokens_and_the_heads():
    layout = AutomaticLayout(SPANS, {}, THRESHOLD, START, tokens_per_object=2)
    probabilities = torch.arange(2 * 3 * 6.0).view(1, 2, 3, 6)
    found = layout.phrase_maps(probabilities)
    # Position p of head h holds 18h + 6p + token; tokens 1 and 2 have mean 1.5, token 4 has 4.
    assert found[0].tolist() == [[10.5, 13.0, 0.0], [16.5, 19.0, 0.0], [22.5, 25.0, 0.0]]


def test_background_tokens_act_where_the_found_regions_are_not():
    layout = AutomaticLayout(SPANS, {}, THRESHOLD, 1, tokens_per_object=2, background_tokens=3)
    probabilities = torch.rand(1, 2, 12, 6, generator=torch.Generator().manual_seed(1))
    found = layout.masks("layer", probabilities)[0, 0]
    covered = torch.tensor(loops([probabilities[0]], THRESHOLD)).any(1)
    assert torch.equal(found[:, :3], ~covered[:, None].expand(-1, 3)) and 0 < covered.sum() < 12


@pytest.mark.parametrize("box", [[0.5, 0.2, 0.5, 0.8], [0.3, 0.6, 0.7, 0.6], [0.3, 0.3, 0.3, 0.3], [1.0] * 4])
def test_a_box_without_area_covers_nothing_and_is_refused(box):
    assert not region_masks(torch.tensor(box), 8, 10).any()
    with pytest.raises(ValueError, match="must have x0 < x1 and y0 < y1"):
        check_box(box)


def test_an_edge_within_rounding_of_a_cell_border_lies_on_it():
    """0.7 · 10 is 6.9999999 or 7.0000001 as the number's path was; both name the border before cell 7."""
    for edge in (0.7, 0.6999999, 0.7000001):
        found = region_masks(torch.tensor([[edge, 0.0, 1.0, 1.0], [0.0, 0.0, edge, 1.0]]), 1, 10)
        assert found[:, 0].nonzero()[:, 1].tolist() == [7, 8, 9, 0, 1, 2, 3, 4, 5, 6]


def test_levels_of_odd_sizes_round_up():
    assert attention_grids(9, 14, 4) == [(9, 14), (5, 7), (3, 4), (2, 2)]


def test_side_by_side_is_columns_over_the_middle_of_the_height():
    assert side_by_side(1) == [[0.0, 0.1, 1.0, 0.9]]
    assert side_by_side(4) == [[i / 4, 0.1, i / 4 + 0.25, 0.9] for i in range(4)]


@pytest.mark.parametrize("masks", [False, True])
def test_absent_objects_are_read_nowhere(masks):
    """Whatever the padding's box and mask say; present ones are read where their region is."""
    adapter = tiny_adapter(tiny_unet())
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 0.5]]] * 2)
    pixels = torch.zeros(2, 80, 120, dtype=torch.bool)
    pixels[0, :, :60], pixels[1, :40, 60:] = True, True
    present = torch.tensor([[True, False], [True, True]])
    given = [list(pixels)] * 2 if masks else None
    found = adapter.attention_masks(boxes, present, 4, 6, levels=2, masks=given)
    for (height, width), right in {(4, 6): 3, (2, 3): 1}.items():
        cells = found[height * width][:, 0].view(2, height, width, 2, 4)
        assert torch.equal(cells[..., :1].expand_as(cells), cells)
        assert not cells[0, ..., 1, 0].any()
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[: height // 2, right:] = True
        assert torch.equal(cells[1, ..., 1, 0], expected)
        assert cells[0, ..., 0, 0].nonzero()[:, 1].unique().tolist() == list(range(-(-width // 2)))


class Prior(RelationConditioningMixin):
    """The pipeline's step `layout`, with a RelationLoRA in force."""

    def heaviest_relation(self):
        boxes = [[0, 0, 0.5, 1], [0.4, 0, 1, 1]]
        return RelationMetadata("hug", "is hugging", "A {0} is hugging a {1}", layout_prior=boxes)


def test_a_layout_prior_counts_for_its_own_number_of_objects():
    assert Prior().layout(2) == [[0, 0, 0.5, 1], [0.4, 0, 1, 1]]
    assert Prior().layout(3) == side_by_side(3) and Prior().layout(1) == side_by_side(1)
