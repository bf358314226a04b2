"""Our layout: what is written is read, and every fault of a folder is told by line, field, rule and value."""

import json

import pytest
import torch
from PIL import Image

from relationbooth_pipeline.triplets import (
    METADATA,
    TripletError,
    check_assignments,
    import_triplets,
    read_triplets,
    write_metadata,
)

from .folders import edit, line


def test_what_is_written_is_read(folder):
    (triplet,) = read_triplets(folder)
    before = (folder / METADATA).read_text(encoding="utf-8")
    write_metadata(folder, [triplet])
    assert (folder / METADATA).read_text(encoding="utf-8") == before
    assert check_assignments([triplet])[0][0] == "right"


FAULTS = {
    "image missing": ({"file_name": "no.png"}, "no image file at"),
    "field missing": ({"predicate": ...}, "lacks 'predicate'"),
    "box in pixels": ({"boxes": [[0, 0, 20, 40], [0, 0, 1, 1]]}, "must be XYXY in \\[0, 1\\]"),
    "box count": ({"boxes": [[0, 0, 1, 1]]}, "`boxes` must have one entry per image prompt \\(2\\), got 1"),
    "flat boxes": ({"boxes": [0, 0, 1, 1]}, "`boxes` must be N × \\[x0, y0, x1, y1\\].*got \\[0, 0, 1, 1\\]"),
    "NaN": ({"boxes": [[float("nan"), 0, 1, 1], [0, 0, 1, 1]]}, "`boxes` must be N × .*got \\[\\[nan"),
    "a number of 400 digits": ({"boxes": [[10**400, 0, 1, 1], [0, 0, 1, 1]]}, "`boxes` must be N × "),
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
    "phrase inside a word": ({"phrases": ["cat", "ear"]}, "'ear' must stand in .* It is a part of 'bear' only"),
    "phrase twice": ({"phrases": ["cat", "cat"]}, "'cat' must stand in .* Its place there is another phrase's"),
    "predicate absent": ({"predicate": "kisses"}, "'kisses' must stand in the prompt"),
    "predicate inside a word": ({"predicate": "hug"}, "'hug' must stand in .* a part of 'hugging' only"),
    "unknown order": ({"keypoint_order": "mine"}, "`keypoint_order` must be one of AP-10K, COCO"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(folder, name):
    fields, message = FAULTS[name]
    edit(folder, **fields)
    with pytest.raises(TripletError, match=f"(?s)line 1: .*{message}"):
        read_triplets(folder)


FIELDS = (
    "file_name", "image_prompts", "prompt", "phrases", "predicate", "boxes", "masks", "keypoints",
    "image_prompt_keypoints", "keypoint_order",
)  # fmt: skip
WRONG = {
    "null": None, "text": "x", "blank": " ", "flat list": [1, 2], "number": 3, "flag": True, "object": {"a": 1},
    "nested texts": [["a"], ["b"]], "list of nulls": [None, None], "empty list": [], "ragged": [[1], [1, 2]],
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_another_kind_is_a_named_fault(folder, field):
    for kind, value in WRONG.items():
        if (field, kind) in (("masks", "null"), ("prompt", "text"), ("file_name", "text")):  # the right kind
            continue
        edit(folder, **{**line(folder), field: value})
        with pytest.raises(TripletError) as caught:
            read_triplets(folder)
        assert all(fault.startswith(f"{METADATA} line 1: ") for fault in caught.value.faults), kind
        assert any(f"`{field}`" in fault for fault in caught.value.faults), kind
        assert all(len(fault) < 400 for fault in caught.value.faults)


def test_every_line_that_is_no_object_is_named(folder):
    good = (folder / METADATA).read_text(encoding="utf-8").strip()
    (folder / METADATA).write_text("\n".join([good, "{", "[1]", "3", '"x"', "{}", "null", good]), encoding="utf-8")
    with pytest.raises(TripletError) as caught:
        read_triplets(folder)
    faults = caught.value.faults
    assert "line 2: is no JSON" in faults[0] and [
        f"line {n}: must be a JSON object" in f for n, f in zip((3, 4, 5), faults[1:])
    ]
    assert sum("line 6: lacks" in fault for fault in faults) == 8 and "line 7: must be a JSON object" in faults[-1]
    assert [triplet.name for triplet in caught.value.readable] == ["line 1", "line 8"]


def test_every_fault_is_found_at_once_also_beside_a_truncated_picture(folder):
    data = (folder / "target.png").read_bytes()
    (folder / "target.png").write_bytes(data[: len(data) // 2])
    (folder / "mask0.png").write_bytes(data[: len(data) // 2])
    Image.new("L", (40, 40), 0).save(folder / "mask1.png")
    edit(folder, predicate="kisses", boxes=[[0, 0, 2, 2], [0, 0, 1, 1]], keypoints=None)
    with pytest.raises(TripletError) as caught:
        read_triplets(folder)
    wanted = [
        "`keypoints` must be",
        "'kisses'",
        "XYXY",
        "target.png` is not",
        "mask0.png` is not",
        "`mask1.png` must cover",
    ]
    assert len(caught.value.faults) == len(wanted)
    assert all(any(word in fault for fault in caught.value.faults) for word in wanted)


def test_a_mask_of_another_size_and_an_empty_one(folder):
    Image.new("L", (20, 40), 255).save(folder / "mask0.png")
    Image.new("L", (40, 40), 0).save(folder / "mask1.png")
    with pytest.raises(TripletError, match="(?s)`mask0.png` must have the target's size.*`mask1.png` must cover"):
        read_triplets(folder)


def test_masks_on_transparency_are_those_on_black(folder):
    """White on transparent, whose colours alone would say "everything"."""
    before = check_assignments(read_triplets(folder))
    for name in ("mask0.png", "mask1.png"):
        alpha = Image.open(folder / name).convert("L")
        white = Image.new("RGBA", alpha.size, "white")
        white.putalpha(alpha)
        white.save(folder / name)
    (triplet,) = read_triplets(folder)
    assert check_assignments([triplet]) == before == [("right", (0, 1))]


@pytest.mark.parametrize(
    "text",
    ["\ufeff{0}\n{0}", "{0}\n\n \n{0}\n\n", "\n{0}\r\n{0}\r\n"],
    ids=["byte order mark", "blank lines", "Windows line ends"],
)
def test_text_files_as_editors_save_them(folder, text):
    fields = json.dumps({**line(folder), "prompt": "A cat is hugging a bear\u2028im Café"}, ensure_ascii=False)
    (folder / METADATA).write_bytes(text.replace("{0}", fields).encode("utf-8"))
    triplets = read_triplets(folder)
    assert [t.prompt for t in triplets] == ["A cat is hugging a bear\u2028im Café"] * 2


def test_another_encoding_is_refused(folder):
    (folder / METADATA).write_bytes(json.dumps({"prompt": "im Café"}, ensure_ascii=False).encode("cp1252"))
    with pytest.raises(TripletError, match="`metadata.jsonl` is no UTF-8 text .* Save it as UTF-8"):
        read_triplets(folder)


def test_a_predicate_for_those_that_name_none(folder):
    assert read_triplets(folder, predicate="hugging")[0].predicate == "is hugging"
    edit(folder, predicate=...)
    assert read_triplets(folder, predicate="hugging")[0].predicate == "hugging"


def test_folders_without_triplets(tmp_path):
    with pytest.raises(TripletError, match="neither `metadata.jsonl` nor `prompts.json`"):
        read_triplets(tmp_path)
    (tmp_path / METADATA).touch()
    with pytest.raises(TripletError, match="holds no triplet"):
        read_triplets(tmp_path)


def test_importing_copies_everything(folder, tmp_path):
    others = {"license": "CC0 Café", "extra": [1, {"a": None}]}
    told = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    (folder / METADATA).write_text(json.dumps({**others, **told}), encoding="utf-8")
    triplets = read_triplets(folder)
    import_triplets(triplets, tmp_path / "new" / "hug")
    (copy,) = read_triplets(tmp_path / "new" / "hug")
    assert copy.image.read_bytes() == triplets[0].image.read_bytes()
    assert torch.equal(copy.keypoints, triplets[0].keypoints) and copy.prompt == triplets[0].prompt
    assert copy.others == others
    with pytest.raises(ValueError, match="is not empty. Choose a new or empty folder"):
        import_triplets(triplets, tmp_path / "new" / "hug")


def test_a_folder_is_an_image_folder_of_datasets(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    (triplet,) = read_triplets(folder)
    assert rows[0]["image"].size == (40, 40) and rows[0]["phrases"] == triplet.phrases
    torch.testing.assert_close(torch.tensor(rows[0]["keypoints"]), triplet.keypoints)
