import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.sheets.contact import COLORS
from relationbooth_pipeline.triplets import (
    METADATA,
    Triplet,
    TripletError,
    check_assignments,
    import_triplets,
    keypoint_verdict,
    read_triplets,
    repair_assignments,
    write_metadata,
)
from tests.tiny import photo

RELEASED = Path(__file__).parents[4] / "shared" / "data" / "triplets_hug"
needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released triplets are not at {RELEASED}")
BOXES = [[0.0, 0.0, 0.6, 1.0], [0.4, 0.0, 1.0, 1.0]]


def filled(box, size=(40, 40)) -> torch.Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    x0, y0, x1, y1 = (round(side * 40) for side in box)
    mask[y0:y1, x0:x1] = True
    return mask


def points(box, count=17, seed=0) -> torch.Tensor:
    """Visible keypoints drawn inside a box."""
    corner, size = torch.tensor(box[:2]), torch.tensor(box[2:]) - torch.tensor(box[:2])
    inside = corner + size * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 0.99
    return torch.cat([inside, torch.ones(count, 1)], dim=1)


@pytest.fixture
def folder(tmp_path):
    """A folder with one valid triplet of two objects that overlap."""
    for name in ("target", "cat", "bear"):
        photo(size=(40, 40)).save(tmp_path / f"{name}.png")
    for i, box in enumerate(BOXES):
        Image.fromarray(filled(box).numpy().astype(np.uint8) * 255).save(tmp_path / f"mask{i}.png")
    keypoints = torch.stack([points([0, 0, 0.4, 1]), points([0.6, 0, 1, 1])])
    triplet = Triplet(
        name="",
        image=tmp_path / "target.png",
        image_prompts=[tmp_path / "cat.png", tmp_path / "bear.png"],
        prompt="A cat is hugging a bear",
        phrases=["cat", "bear"],
        predicate="is hugging",
        boxes=torch.tensor(BOXES),
        masks=[tmp_path / "mask0.png", tmp_path / "mask1.png"],
        keypoints=keypoints,
        image_prompt_keypoints=torch.stack([points([0, 0, 1, 1], seed=i) for i in (1, 2)]),
    )
    write_metadata(tmp_path, [triplet])
    return tmp_path


def edit(folder, **fields):
    line = json.loads((folder / METADATA).read_text())
    line.update(fields)
    (folder / METADATA).write_text(json.dumps({k: v for k, v in line.items() if v is not ...}))


def test_what_is_written_is_read(folder):
    (triplet,) = read_triplets(folder)
    before = (folder / METADATA).read_text()
    write_metadata(folder, [triplet])
    assert (folder / METADATA).read_text() == before
    assert check_assignments([triplet])[0][0] == "right"


FAULTS = {
    "image missing": ({"file_name": "no.png"}, "no image file at"),
    "field missing": ({"predicate": ...}, "lacks 'predicate'"),
    "box in pixels": ({"boxes": [[0, 0, 20, 40], [0, 0, 1, 1]]}, "must be XYXY in \\[0, 1\\]"),
    "box count": ({"boxes": [[0, 0, 1, 1]]}, "`boxes` must have one entry per image prompt \\(2\\), got 1"),
    "keypoints in pixels": (
        {"keypoints": [[[20.0, 3.0, 1.0]] * 17] * 2},
        "`keypoints` must lie in \\[0, 1\\].*Divide pixels",
    ),
    "sixteen keypoints": (
        {"keypoints": [[[0.1, 0.1, 1.0]] * 16] * 2},
        "must have shape \\(N, 17, 3\\), got \\(2, 16, 3\\)",
    ),
    "no visibility": ({"keypoints": [[[0.1, 0.1]] * 17] * 2}, "must have shape \\(N, 17, 3\\)"),
    "phrase absent": ({"phrases": ["cat", "dog"]}, "'dog' must stand in the prompt"),
    "predicate absent": ({"predicate": "kisses"}, "'kisses' must stand in the prompt"),
    "unknown order": ({"keypoint_order": "mine"}, "`keypoint_order` must be one of AP-10K, COCO"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(folder, name):
    fields, message = FAULTS[name]
    edit(folder, **fields)
    with pytest.raises(TripletError, match=f"(?s)line 1: .*{message}"):
        read_triplets(folder)


def test_every_fault_is_found_at_once(folder):
    edit(folder, file_name="no.png", predicate="kisses", boxes=[[0, 0, 2, 2], [0, 0, 1, 1]])
    with pytest.raises(TripletError) as caught:
        read_triplets(folder)
    assert len(caught.value.faults) == 3


def test_a_mask_of_another_size_and_an_empty_one(folder):
    Image.new("L", (20, 40), 255).save(folder / "mask0.png")
    Image.new("L", (40, 40), 0).save(folder / "mask1.png")
    with pytest.raises(TripletError, match="(?s)`mask0.png` must have the target's size.*`mask1.png` must cover"):
        read_triplets(folder)


def test_folders_without_triplets(tmp_path):
    with pytest.raises(TripletError, match="neither `metadata.jsonl` nor `prompts.json`"):
        read_triplets(tmp_path)
    (tmp_path / METADATA).touch()
    with pytest.raises(TripletError, match="holds no triplet"):
        read_triplets(tmp_path)


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


@needs_released
def test_the_released_triplets_have_exactly_one_swap():
    triplets = read_triplets(RELEASED)
    verdicts = [verdict for verdict, _ in check_assignments(triplets)]
    assert [i for i, verdict in enumerate(verdicts) if verdict == "swapped"] == [2]
    assert "swapped" not in [verdict for verdict, _ in check_assignments(repair_assignments(triplets))]


def test_importing_copies_everything(folder, tmp_path):
    triplets = read_triplets(folder)
    import_triplets(triplets, tmp_path / "new" / "hug")
    (copy,) = read_triplets(tmp_path / "new" / "hug")
    assert copy.image.read_bytes() == triplets[0].image.read_bytes()
    assert torch.equal(copy.keypoints, triplets[0].keypoints) and copy.prompt == triplets[0].prompt
    with pytest.raises(ValueError, match="is not empty. Choose a new or empty folder"):
        import_triplets(triplets, tmp_path / "new" / "hug")


def command(*arguments):
    return CliRunner().invoke(app, ["triplets", *map(str, arguments)])


def test_the_command_draws_a_sheet(folder, tmp_path):
    result = command("check", folder, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0 and "2 objects, keypoints right" in result.output
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    for color in COLORS[:2]:  # boxes and keypoints of both objects
        assert (sheet == np.array(Image.new("RGB", (1, 1), color))[0, 0]).all(-1).sum() > 500


def test_the_command_names_faults_and_exits_1(folder, tmp_path):
    edit(folder, file_name="no.png", predicate="kisses")
    result = command("check", folder, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1 and "no image file at" in result.output and "'kisses' must stand" in result.output


def test_the_command_refuses_swaps_and_repairs_them(folder, tmp_path):
    (triplet,) = read_triplets(folder)
    expected = triplet.keypoints.clone()
    triplet.keypoints = expected.flip(0)
    write_metadata(folder, [triplet])
    sheet = ("--sheet", tmp_path / "sheet.png")
    result = command("check", folder, *sheet)
    assert result.exit_code == 1 and "listed in another object's place" in result.output
    assert command("import", folder, tmp_path / "copy").exit_code == 1 and not (tmp_path / "copy").exists()
    result = command("check", folder, "--fix", *sheet)
    assert result.exit_code == 0 and "now put in order" in result.output
    assert torch.equal(read_triplets(folder)[0].keypoints, expected)
    assert command("check", folder, *sheet).exit_code == 0


@needs_released
def test_the_released_layout_imports_into_ours(tmp_path):
    assert command("check", RELEASED, "--sheet", tmp_path / "sheet.png").exit_code == 1
    assert command("import", RELEASED, tmp_path / "hug", "--fix").exit_code == 0
    result = command("check", tmp_path / "hug", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0 and result.output.count("keypoints right") == 4


def test_a_folder_is_an_image_folder_of_datasets(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    (triplet,) = read_triplets(folder)
    assert rows[0]["image"].size == (40, 40) and rows[0]["phrases"] == triplet.phrases
    torch.testing.assert_close(torch.tensor(rows[0]["keypoints"]), triplet.keypoints)
