import pytest
import torch

from training.encoder.distillation import average_weights, crop_distillation_loss, grid_cells, grid_choices


def test_loss_is_zero_for_equal_directions_and_two_for_opposite_ones():
    features = torch.randn(7, 5)
    scaled = features * torch.rand(7, 1).add(0.5)
    torch.testing.assert_close(crop_distillation_loss(features, scaled), torch.zeros(()), atol=1e-6, rtol=0)
    torch.testing.assert_close(crop_distillation_loss(features, -scaled), torch.tensor(2.0))


def test_grids_are_never_more_than_twice_as_wide_or_high():
    expected = [(m, n) for m in range(1, 7) for n in range(1, 7) if n <= 2 * m and m <= 2 * n]
    assert grid_choices() == expected and len(expected) == 24
    assert (1, 3) not in grid_choices(16) and len(grid_choices(16)) == 144


def test_cells_tile_the_picture_row_by_row():
    cells = grid_cells(2, 3)
    assert cells[1].tolist() == pytest.approx([1 / 3, 0, 2 / 3, 0.5])
    areas = (cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1])
    torch.testing.assert_close(areas.sum(), torch.tensor(1.0))


def test_averaging_lies_between_both_and_needs_the_same_keys():
    a, b = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    torch.testing.assert_close(average_weights(a, b)["w"], torch.full((2,), 0.05))
    with pytest.raises(ValueError, match="same keys"):
        average_weights(a, {})
