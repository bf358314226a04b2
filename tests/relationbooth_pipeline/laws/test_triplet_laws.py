"""A triplet in the released layout, drawn here, read value by value; how clear a swap of keypoints must be."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from relationbooth_pipeline.relation_images import open_image, read_mask
from relationbooth_pipeline.triplets import check_assignments, keypoint_verdict, read_triplets

SIZE = (80, 60)
SHAPES = {"lion": ("ellipse", (8, 12, 43, 51), "orange"), "polar bear": ("rectangle", (40, 6, 71, 47), "white")}
CONCEPT_SIZE = (50, 40)


def drawn(size, shapes, background="green") -> Image.Image:
    picture = Image.new("RGB", size, background)
    for kind, corners, color in shapes:
        getattr(ImageDraw.Draw(picture), kind)(corners, fill=color)
    return picture


def points_of(mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Centres of 17 pixels of a mask, (17, 2)."""
    rows, columns = mask.nonzero().unbind(1)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:17]
    return torch.stack([(columns[chosen] + 0.5) / mask.shape[1], (rows[chosen] + 0.5) / mask.shape[0]], 1)


@pytest.fixture
def released(tmp_path):
    """(folder, keypoints in the target, keypoints in the image prompts)."""
    videos, masks = tmp_path / "videos" / "0", tmp_path / "masks" / "0"
    videos.mkdir(parents=True), masks.mkdir(parents=True)
    drawn(SIZE, SHAPES.values()).save(videos / "motion.png")
    target, prompts = [], []
    for i, (kind, corners, color) in enumerate(SHAPES.values()):
        drawn(SIZE, [(kind, corners, "white")], "black").convert("L").save(masks / f"motion{i}.png")
        target.append(points_of(read_mask(masks / f"motion{i}.png"), seed=i))
        concept = [(kind, (10 + 5 * i, 5, 35, 30), color)]
        drawn(CONCEPT_SIZE, concept, "gray").save(videos / f"concept{i}.png")
        alone = read_mask(drawn(CONCEPT_SIZE, [(*concept[0][:2], "white")], "black"))
        prompts.append(points_of(alone, seed=10 + i))
        torch.save(prompts[-1][None], videos / f"concept_keyposes_{('one', 'two')[i]}.pth")
    torch.save(torch.stack(target), videos / "motion_keyposes.pth")
    fields = {"prompt": "A lion and a polar bear hug.", "entities": list(SHAPES), "predicate": ["hug"]}
    (tmp_path / "prompts.json").write_text(json.dumps({"0": fields}), encoding="utf-8")
    return tmp_path, torch.stack(target), torch.stack(prompts)


def test_a_released_triplet_is_read_value_by_value(released):
    folder, target, prompts = released
    (triplet,) = read_triplets(folder)
    assert triplet.prompt == "A lion and a polar bear hug." and triplet.predicate == "hug"
    assert triplet.phrases == ["lion", "polar bear"] and triplet.keypoint_order == "AP-10K"
    # Pillow's corners are inclusive: the ellipse's last column is 43, so its far edge is 44/80.
    expected = [[8 / 80, 12 / 60, 44 / 80, 52 / 60], [40 / 80, 6 / 60, 72 / 80, 48 / 60]]
    torch.testing.assert_close(triplet.boxes, torch.tensor(expected))
    for found, given in ((triplet.keypoints, target), (triplet.image_prompt_keypoints, prompts)):
        assert torch.equal(found[..., :2], given) and (found[..., 2] == 1).all()
    assert open_image(triplet.image).getpixel((20, 30)) == (255, 165, 0)
    colors = [open_image(file).getpixel((25, 18)) for file in triplet.image_prompts]
    assert colors == [(255, 165, 0), (255, 255, 255)]
    assert [read_mask(file)[30, 20].item() for file in triplet.masks] == [True, False]
    assert check_assignments([triplet]) == [("right", (0, 1))]
    videos = Path(folder) / "videos" / "0"
    assert triplet.image_prompts == [videos / "concept0.png", videos / "concept1.png"]


def lead_of(in_common: int):
    """Two objects in two halves; of each one's twenty points so many lie in the other's half."""
    left = torch.zeros(10, 20, dtype=torch.bool)
    left[:, :10] = True
    own, other = torch.tensor([0.2, 0.5, 1.0]), torch.tensor([0.8, 0.5, 1.0])
    first = torch.stack([other] * in_common + [own] * (20 - in_common))
    second = torch.stack([own] * in_common + [other] * (20 - in_common))
    return [left, ~left], torch.stack([first, second])


@pytest.mark.parametrize("in_common, verdict", [(8, "right"), (9, "right"), (10, "undecidable"), (11, "swapped")])
def test_a_swap_is_called_when_it_leads_by_a_tenth(in_common, verdict):
    """Of the mean share: 9 of 20 points outside make 0.55 against 0.45."""
    masks, keypoints = lead_of(in_common)
    assert keypoint_verdict(masks, keypoints)[0] == verdict
    if in_common == 10:  # one point more or less of one object alone is a lead of 0.05
        for sample in range(2):
            nearly = lead_of(11)[1]
            nearly[sample] = keypoints[sample]
            assert keypoint_verdict(masks, nearly) == ("undecidable", (0, 1))
