import math

import pytest
import torch

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.relation_image_encoder import grid_boxes, pool_regions
from tests.tiny import tiny_vision


@pytest.fixture(scope="module")
def encoder():
    return tiny_vision(LocalImageEncoder)


def slow_roi_align(features, box):
    """RoIAlign with output 1×1, sampling ratio −1, aligned, written out for one map and one box."""
    _, height, width = features.shape
    x0, y0, x1, y1 = (side * size for side, size in zip(box.tolist(), (width, height, width, height)))
    nx, ny = max(math.ceil(x1 - x0), 1), max(math.ceil(y1 - y0), 1)
    total = torch.zeros(len(features))
    for j in range(ny):
        for i in range(nx):
            x = x0 - 0.5 + (i + 0.5) * (x1 - x0) / nx
            y = y0 - 0.5 + (j + 0.5) * (y1 - y0) / ny
            if not (-1 <= x <= width and -1 <= y <= height):
                continue
            x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            left, top = int(x), int(y)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            fx, fy = x - left, y - top
            total += (1 - fy) * ((1 - fx) * features[:, top, left] + fx * features[:, top, right]) + fy * (
                (1 - fx) * features[:, bottom, left] + fx * features[:, bottom, right]
            )
    return total / (nx * ny)


def test_pooling_matches_roi_align_written_out():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 7, 9, generator=generator)
    corners = torch.rand(2, 12, 4, generator=generator)
    boxes = torch.cat(
        [torch.minimum(corners[..., :2], corners[..., 2:]), torch.maximum(corners[..., :2], corners[..., 2:])], -1
    )
    boxes[:, 0] = torch.tensor([0.0, 0, 1, 1])
    pooled = pool_regions(features, boxes)
    for r in range(2):
        for m in range(12):
            torch.testing.assert_close(pooled[r, m], slow_roi_align(features[r], boxes[r, m]), atol=1e-5, rtol=1e-5)


def test_pooling_a_dividing_grid_is_average_pooling():
    features = torch.randn(1, 3, 8, 8)
    pooled = pool_regions(features, grid_boxes(4)[None])
    cells = torch.nn.functional.avg_pool2d(features, 2)[0]  # (3, row, column)
    torch.testing.assert_close(pooled[0], cells.permute(2, 1, 0).reshape(16, 3))


def test_every_image_is_pooled_from_its_own_map(encoder):
    images = torch.randn(3, 3, 112, 112)
    together = encoder(images, grid=4)
    for i in range(3):
        torch.testing.assert_close(encoder(images[i : i + 1], grid=4), together[i : i + 1], atol=1e-5, rtol=1e-5)


def test_the_last_blocks_queries_and_keys_are_never_used(encoder):
    images = torch.randn(1, 3, 56, 56)
    before = encoder(images, grid=2)
    attention = encoder.vision_model.encoder.layers[-1].self_attn
    kept = attention.q_proj.weight.data.clone(), attention.k_proj.weight.data.clone()
    attention.q_proj.weight.data.fill_(float("nan"))
    attention.k_proj.weight.data.fill_(float("nan"))
    after = encoder(images, grid=2)
    attention.q_proj.weight.data, attention.k_proj.weight.data = kept
    assert torch.equal(before, after)


def test_inputs_need_not_be_square(encoder):
    """Four rows and six columns of patches: a quarter is two rows of three, and quarters come column by column."""
    images = torch.randn(1, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    features = encoder.dense_features(images, project=True)[0]
    assert features.shape == (16, 4, 6)
    quarters = [features[:, row : row + 2, column : column + 3].mean((1, 2)) for column in (0, 3) for row in (0, 2)]
    torch.testing.assert_close(encoder(images, grid=2, project=True)[0], torch.stack(quarters), atol=1e-5, rtol=1e-5)
    # Patches do not mix in the last block alone: a change of one patch's pixels moves its own feature most.
    changed = images.clone()
    changed[..., 14:28, 70:84] += 1
    moved = (encoder.dense_features(changed)[0] - encoder.dense_features(images)[0]).norm(dim=0)
    assert divmod(moved.argmax().item(), 6) == (1, 5)


@pytest.mark.parametrize("size", [(13, 28), (28, 30)])
def test_sizes_that_are_no_multiples_of_the_patch_are_refused(encoder, size):
    with pytest.raises(ValueError, match="multiples of the patch size 14, got"):
        encoder(torch.randn(1, 3, *size))


def test_a_grid_finer_than_the_map_is_refused(encoder):
    with pytest.raises(ValueError, match="must not exceed the feature map 2×2, got 4"):
        encoder(torch.randn(1, 3, 28, 28), grid=4)
