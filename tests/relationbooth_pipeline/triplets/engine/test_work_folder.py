"""A work folder keeps pictures once, records whole, and refuses another plan's files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.triplets.engine import Candidate, WorkFolder, inputs_digest
from tests.tiny import photo


@pytest.fixture
def work(tmp_path):
    return WorkFolder(tmp_path / "work")


def test_a_picture_is_kept_once_with_where_it_first_came_from(work):
    picture = photo(1)
    digest = work.keep_picture(picture, {"model": "a", "seed": 3})
    assert work.keep_picture(picture, {"model": "b"}) == digest != work.keep_picture(photo(2), {"model": "b"})
    assert np.array_equal(np.asarray(work.picture(digest)), np.asarray(picture))
    assert work.provenance(digest) == {"model": "a", "seed": 3}
    assert sorted(file.suffix for file in work.picture_path(digest).parent.iterdir()) == [".json"] * 2 + [".png"] * 2


def test_a_mask_comes_back(work):
    mask = np.random.default_rng(0).random((9, 14)) > 0.5
    found = work.mask(work.keep_mask(mask))
    assert found.dtype == bool and np.array_equal(found, mask)
    with pytest.raises(ValueError, match="boolean array .H, W., got uint8 of shape"):
        work.keep_mask(mask.astype(np.uint8))


def test_a_folder_belongs_to_one_plan(work, tmp_path):
    work.claim({"relation": "hugging", "seed": 0, "pairs": [("cat", "dog")]})
    work.claim({"relation": "hugging", "seed": 0, "pairs": [["cat", "dog"]]})
    with pytest.raises(ValueError, match=r"another plan: `seed` is 0 there, 1 here; `size` is None there, 64 here\."):
        work.claim({"relation": "hugging", "seed": 1, "pairs": [["cat", "dog"]], "size": 64})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"")
    with pytest.raises(ValueError, match="holds other things than a plan's work"):
        WorkFolder(tmp_path / "photos").claim({})
    with pytest.raises(ValueError, match="is a file"):
        WorkFolder(tmp_path / "photos" / "cat.png").claim({})


def test_a_file_is_no_work_folder(tmp_path):
    (tmp_path / "work").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="the work folder `.*work` is a file. Choose a new or empty folder"):
        with WorkFolder(tmp_path / "work").locked():
            pass
    assert (tmp_path / "work").read_text(encoding="utf-8") == "mine"


def test_candidates_are_those_with_a_target_and_objects(work):
    hug = Candidate("hugging-0001", "hugging", "is hugging", ("cat", "dog"), "a cat is hugging a dog", "t", ("a", "b"))
    ride = Candidate("riding-0000", "riding", "riding a bike", ("bear",), None, "t2", ("c",))
    work.write_record("given", ride.id, {"inputs": "x", **ride.as_record()})
    work.write_record("same", hug.id, {"inputs": "x", **hug.as_record()})
    work.write_record("generate", "hugging-0002", {"inputs": "x"})
    assert work.candidates() == [hug, ride]
    with pytest.raises(ValueError, match="one picture per phrase .2., got 1"):
        Candidate("a", "hug", "hug", ("cat", "dog"), None, "t", ("a",))
    for bad in ("../a", "A", "", ".a", "a/b", "a" * 81):
        with pytest.raises(ValueError, match="`id` must be"):
            Candidate(bad, "hug", "hug", ("cat",), None, "t")


def test_a_record_of_other_inputs_is_not_done(work):
    assert work.record("find", "a-0") is None and not work.is_done("find", "a-0", "x")
    inputs = inputs_digest({"b": 1, "a": [0.5, None]}, "words")
    assert inputs == inputs_digest({"a": [0.5, None], "b": 1}, "words") != inputs_digest({"a": [0.5, None]}, "words")
    work.write_record("find", "a-0", {"inputs": inputs, "target": []})
    assert work.is_done("find", "a-0", inputs) and not work.is_done("find", "a-0", "x")
    assert work.record("find", "a-0") == {"inputs": inputs, "target": []}


def test_one_process_works_in_a_folder_at_a_time(work):
    with work.locked():
        with work.locked("other"):
            pass
        with pytest.raises(ValueError, match="another process works in"), work.locked():
            pass
    with work.locked():
        pass
    with work.locked("shard-0-of-3"):
        with work.locked("shard-1-of-3"):  # another part of the same work
            pass
        for other in ("shard-0-of-3", "shard-0-of-1", "shard-1-of-2"):
            with pytest.raises(ValueError, match="another process works in"), work.locked(other):
                pass
    with work.locked("shard-0-of-1"):
        pass


def test_what_a_killed_process_left_is_swept(work):
    digest = work.keep_picture(Image.new("RGB", (4, 4)), {})
    for name in (".0123.tmp", "pictures/.4567.tmp"):
        (work.root / name).write_text("half", encoding="utf-8")
    work.sweep()
    assert not list(work.root.rglob(".*.tmp")) and work.picture_path(digest).is_file()


def test_the_engine_s_files_are_kept_without_diffusers():
    code = "import sys; import relationbooth_pipeline.triplets.engine.make; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True)
    assert not {"diffusers", "transformers"} & set(json.loads(found.stdout))
