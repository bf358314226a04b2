import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from relationbooth_pipeline.triplets import Triplet
from tests.tiny_training import keypoints_in
from training.common.options import ViewOptions
from training.common.views import MIRROR_PAIRS, bucket_size, cut_view, draw_view, mirrored_order, widest_window

WHITE = (255, 255, 255)


@pytest.fixture
def triplet(tmp_path) -> Triplet:
    """A black target with a white 9 × 9 patch on every keypoint, so that pixels tell where keypoints went."""
    boxes = [[0.1, 0.2, 0.5, 0.8], [0.5, 0.2, 0.9, 0.8]]
    keypoints = torch.stack([keypoints_in(box, seed) for seed, box in enumerate(boxes)])
    image = Image.new("RGB", (200, 120))
    for x, y, _ in keypoints.flatten(0, 1).tolist():
        column, row = int(x * 200), int(y * 120)
        image.paste(WHITE, (column - 4, row - 4, column + 5, row + 5))
    image.save(tmp_path / "target.png")
    return Triplet(
        name="line 1",
        image=tmp_path / "target.png",
        image_prompts=[Path("a.png"), Path("b.png")],
        prompt="a cat is hugging a bear",
        phrases=["cat", "bear"],
        predicate="is hugging",
        boxes=torch.tensor(boxes),
        masks=None,
        keypoints=keypoints,
        image_prompt_keypoints=keypoints,
    )


@pytest.mark.parametrize("resolution", [64, 512, 1024])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500), (4000, 500), (1023, 1024)])
def test_buckets_are_near_in_shape_and_within_the_area(size, resolution):
    width, height = bucket_size(*size, resolution)
    step = max(8, resolution // 16)
    assert width % step == height % step == 0 and width * height <= resolution**2
    assert max(width / height, height / width) <= 2
    if size[0] / size[1] < 2 and resolution > 64:
        assert abs(width / height / (size[0] / size[1]) - 1) < 0.13


def test_a_square_gets_the_square_bucket():
    for resolution in (64, 128, 512, 768, 1024):
        assert bucket_size(300, 300, resolution) == (resolution, resolution)


@pytest.mark.parametrize("resolution", range(64, 2049, 8))
def test_every_resolution_has_sides_for_the_vae_and_its_own_square(resolution):
    assert bucket_size(333, 333, resolution) == (resolution, resolution)
    for size in ((640, 480), (333, 517), (4000, 500), (1023, 1024)):
        width, height = bucket_size(*size, resolution)
        assert width % 8 == height % 8 == 0 and width * height <= resolution**2
        assert max(width / height, height / width) <= 2


def test_the_widest_window_lies_inside_the_picture():
    """To the last bit: Pillow refuses what exceeds it. About one size in 25 did, by a rounding error."""
    for width in range(64, 1200, 13):
        for height in range(64, 1200, 17):
            size = bucket_size(width, height, 128)
            left, top, right, bottom = widest_window((width, height), size)
            assert 0 <= left < right <= width and 0 <= top < bottom <= height, (width, height)
            assert min(left, top) < 1e-9  # the widest touches two sides
            assert (right - left) / (bottom - top) == pytest.approx(size[0] / size[1])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_keypoints_go_where_their_pixels_go(triplet, seed, flip):
    rng = random.Random(seed)
    image = Image.open(triplet.image)
    left, top = rng.uniform(0, 60), rng.uniform(0, 30)
    view = cut_view(triplet, image, (128, 96), (left, top, left + 130, top + 88), flip)
    visible = view.keypoints[view.keypoints[..., 2] > 0]
    assert 5 < len(visible) < 34  # the window cuts some off
    column, row = (visible[:, :2] * torch.tensor([128, 96])).long().clamp(max=127).unbind(-1)
    assert (view.pixels[:, row.clamp(max=95), column] > 0.5).all()
    for box, points in zip(view.boxes, view.keypoints):
        seen = points[points[:, 2] > 0, :2]
        assert (seen >= box[:2] - 1e-5).all() and (seen <= box[2:] + 1e-5).all()


def test_masks_and_boxes_agree(triplet):
    for seed in range(5):
        view = draw_view(triplet, ViewOptions(128, random_flip=True), random.Random(seed))
        for mask, (x0, y0, x1, y1) in zip(view.masks, view.boxes.tolist()):
            rows, columns = mask.nonzero().unbind(1)
            height, width = mask.shape
            assert abs(columns.min() / width - x0) < 0.02 and abs((columns.max() + 1) / width - x1) < 0.02
            assert abs(rows.min() / height - y0) < 0.02 and abs((rows.max() + 1) / height - y1) < 0.02


def test_a_mirrored_view_keeps_anatomy(triplet):
    """Mirroring exchanges left and right, so the left eye of the mirrored animal is where the right eye was."""
    image, window = Image.open(triplet.image), (0, 0, 200, 120)
    plain, mirrored = (cut_view(triplet, image, (160, 96), window, flip) for flip in (False, True))
    left_eye, right_eye = 0, 1
    torch.testing.assert_close(mirrored.keypoints[:, left_eye, 0], 1 - plain.keypoints[:, right_eye, 0])
    assert torch.equal(mirrored.pixels, plain.pixels.flip(-1))


def test_a_mirrored_view_is_a_crop_of_the_mirrored_picture(triplet):
    """SDXL reads where the crop was taken: the same as of a mirrored file."""
    image, window = Image.open(triplet.image), (10, 20, 90, 68)
    mirrored = cut_view(triplet, image, (160, 96), window, flip=True)
    other = cut_view(triplet, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (160, 96), (110, 20, 190, 68))
    assert torch.equal(mirrored.pixels, other.pixels)
    assert mirrored.crop_top_left == other.crop_top_left == (40, 220)
    assert cut_view(triplet, image, (160, 96), window).crop_top_left == (40, 20)


@pytest.mark.parametrize("order", MIRROR_PAIRS)
def test_mirroring_twice_is_nothing(order):
    once = mirrored_order(order)
    assert sorted(once) == list(range(17)) and [once[i] for i in once] == list(range(17))


def test_crops_keep_the_boxes(triplet):
    for seed in range(20):
        view = draw_view(triplet, ViewOptions(128, largest_zoom=1.3), random.Random(seed))
        # 80 % of a box's area that is at most 1.3² closer
        areas = (view.boxes[:, 2:] - view.boxes[:, :2]).prod(1)
        assert (areas > 0.8 * 0.24).all()


def test_the_central_crop_is_the_widest(triplet):
    views = [draw_view(triplet, ViewOptions(128, center_crop=True), random.Random(seed)) for seed in (1, 2)]
    assert torch.equal(views[0].pixels, views[1].pixels)
    assert min(views[0].crop_top_left) == 0 and views[0].original_size == (120, 200)
