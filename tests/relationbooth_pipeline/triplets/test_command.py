"""`relationbooth triplets`: what it tells, refuses, repairs and copies."""

import json

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner

from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.sheets import triplets as sheets
from relationbooth_pipeline.sheets.contact import COLORS
from relationbooth_pipeline.triplets import METADATA, read_triplets, write_metadata

from .folders import edit, line, save_released
from .test_released import HUG, RELEASED, needs_released, without


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


def test_repairing_keeps_all_but_the_swapped_keypoints(folder, tmp_path):
    good = line(folder)
    others = {"license": "CC0 Café", "extra": [1, {"a": None}], "boxes": [[0, 0, 0.61, 1], [0.4, 0, 1, 1]]}
    swapped = {**good, **others, "keypoints": good["keypoints"][::-1]}
    untouched = json.dumps({**good, **others, "predicate": "is hugging"}, indent=None, separators=(",", ":"))
    (folder / METADATA).write_text("\n".join([untouched, "", json.dumps(swapped), ""]), encoding="utf-8")
    assert command("check", folder, "--fix", "--sheet", tmp_path / "sheet.png").exit_code == 0
    first, blank, second, end = (folder / METADATA).read_text(encoding="utf-8").split("\n")
    assert (first, blank, end) == (untouched, "", "")
    assert json.loads(second) == {**good, **others}


def test_a_sheet_never_replaces_a_picture_of_the_folder(folder):
    pictures = {file: file.read_bytes() for file in folder.glob("*.png")}
    good = line(folder)
    for fields in (good, {**good, "predicate": "kisses"}):  # with faults the sheet shows the other triplets
        (folder / METADATA).write_text("\n".join(map(json.dumps, [fields, fields])), encoding="utf-8")
        for file in pictures:
            result = command("check", folder, "--sheet", file)
            assert result.exit_code == 1 and "`--sheet` would replace" in result.output
    assert len(pictures) == 5 and {file: file.read_bytes() for file in pictures} == pictures


def test_a_sheet_shows_so_many_triplets_swapped_ones_first(folder, tmp_path, monkeypatch):
    good = line(folder)
    swapped = {**good, "keypoints": good["keypoints"][::-1]}
    (folder / METADATA).write_text("\n".join(map(json.dumps, [good, good, swapped])), encoding="utf-8")
    monkeypatch.setattr(sheets, "MOST_TRIPLETS", 2)
    result = command("check", folder, "--sheet", tmp_path / "sheet.png")
    assert "sheet.png: 2 of 3 triplets, swapped ones first" in result.output
    first, _, third = read_triplets(folder)
    expected = sheets.triplet_sheet([third, first], ["swapped", "right"], 2)
    assert np.array_equal(Image.open(tmp_path / "sheet.png"), expected)


@needs_released
def test_the_released_layout_imports_into_ours(tmp_path):
    assert command("check", RELEASED, "--sheet", tmp_path / "sheet.png").exit_code == 1
    assert command("import", RELEASED, tmp_path / "hug", "--fix").exit_code == 0
    result = command("check", tmp_path / "hug", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0 and result.output.count("keypoints right") == 4


def test_faults_and_swaps_of_other_samples_are_told_at_once(folder, tmp_path):
    good = line(folder)
    swapped = {**good, "keypoints": good["keypoints"][::-1]}
    broken = {**good, "prompt": None, "boxes": [0, 0, 1, 1]}
    text = "\n".join(map(json.dumps, [good, broken, swapped]))
    (folder / METADATA).write_text(text, encoding="utf-8")
    result = command("check", folder, "--fix", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1 and (tmp_path / "sheet.png").is_file()
    for told in (
        "line 1: 'A cat",
        "line 3: 'A cat",
        "keypoints swapped",
        "line 2: `prompt`",
        "line 2: `boxes`",
        "has 2 faults",
    ):
        assert told in result.output
    assert (folder / METADATA).read_text(encoding="utf-8") == text  # the line at fault would be lost


def test_fix_never_writes_into_the_released_layout(tmp_path):
    source = save_released(tmp_path / "source", {"0": HUG})
    before = {file: file.read_bytes() for file in source.rglob("*") if file.is_file()}
    result = command("check", source, "--fix", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1 and "never writes into the released layout" in result.output
    assert f"triplets import {source} NEW_FOLDER --fix" in result.output
    assert {file: file.read_bytes() for file in source.rglob("*") if file.is_file()} == before


def test_predicates_of_a_released_folder_without_them(tmp_path):
    silent = without("predicate", prompt="Here a lion and a polar bear on a lawn dancing")
    source = save_released(tmp_path / "source", {"0": without("predicate"), "1": silent})
    result = command("import", source, tmp_path / "copy")
    assert result.exit_code == 1 and "Pass it as `--predicate`" in result.output
    assert command("import", source, tmp_path / "copy", "--predicate", "dancing").exit_code == 1  # "0" does not say so
    (source / "prompts.json").write_text(json.dumps({"0": without("predicate")}), encoding="utf-8")
    assert "[hug]" in command("check", source, "--sheet", tmp_path / "sheet.png").output
    assert command("import", source, tmp_path / "copy").exit_code == 0
    assert line(tmp_path / "copy")["predicate"] == "hug"
