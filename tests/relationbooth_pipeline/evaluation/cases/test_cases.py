"""Case files: read as written, every fault named, fingerprints of contents, and a sheet."""

import json
import shutil

import pytest

from relationbooth_pipeline.evaluation.cases import case_predicate, read_cases, write_cases
from relationbooth_pipeline.evaluation.cases.sheet import case_sheet
from tests.tiny import photo

from ..tiny_bench import pair, single, write_bench


def test_cases_come_back_as_they_were_written(tmp_path):
    cases = [pair(questions=("Are they close?",), objects=("tom", "ted")), single(predicate=None, boxes=None)]
    assert list(write_bench(tmp_path, cases).cases) == cases


def test_photos_are_named_from_the_file_wherever_it_lies(tmp_path):
    bench = write_bench(tmp_path / "photos")
    moved = read_cases(write_cases(bench.cases, bench.folder, tmp_path / "elsewhere" / "mine.jsonl"))
    for case, other in zip(bench.cases, moved.cases):
        assert [p.resolve() for p in bench.image_prompts(case)] == [p.resolve() for p in moved.image_prompts(other)]
    assert moved.check().fingerprint == bench.fingerprint


def test_a_fingerprint_is_of_contents_not_places(tmp_path):
    bench = write_bench(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert read_cases(tmp_path / "two").fingerprint == bench.fingerprint
    photo(99).save(tmp_path / "two" / "cat" / "1.png")
    assert read_cases(tmp_path / "two").fingerprint != bench.fingerprint


def test_a_limit_spreads_over_the_file_and_keeps_its_fingerprint(tmp_path):
    bench = write_bench(tmp_path, [pair(f"p{i}") for i in range(10)])
    few = bench.limited(5)
    assert [case.id for case in few.cases] == ["p0", "p2", "p4", "p6", "p8"]
    assert few.fingerprint == bench.fingerprint and few.all_cases == bench.cases
    assert bench.limited(None) is bench and bench.limited(10) is bench
    with pytest.raises(ValueError, match="`limit` must be at least 1, got 0"):
        bench.limited(0)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (pair("a/b"), "`id` must be letters"),
        (pair(phrases=("cat", "dog")), "the phrase 'dog' does not stand in the prompt"),
        (pair(generate_with=(0, 3)), "`generate_with` names photo 3 of object 1, which has 3"),
        (pair(generate_with=(0,)), "`generate_with` must have an entry for each of the 2 phrases, got 1"),
        (pair(boxes=((0, 0, 1, 1),)), "`boxes` must have an entry for each of the 2 phrases, got 1"),
        (pair(boxes=((0, 0, 512, 512), (0, 0, 1, 1))), "Divide pixel boxes"),
        (pair(boxes=((0, 0, 10**29, 1), (0, 0, 1, 1))), "Divide pixel boxes"),
        (pair(boxes=((0, 0, 10**400, 1), (0, 0, 1, 1))), r"`boxes` must be XYXY in \[0, 1\], got"),
        (pair(references=((), ("bear/0.png",)), generate_with=(0, 0)), "object 0 has no photo"),
        (pair(objects=("a",)), "`objects` must have an entry for each of the 2 phrases, got 1"),
    ],
)
def test_a_fault_of_a_case_is_named(tmp_path, case, message):
    with pytest.raises(ValueError, match=message):
        write_bench(tmp_path, [case]).check()


def test_all_faults_are_told_at_once(tmp_path):
    bench = write_bench(tmp_path, [pair("Same"), pair("same"), pair("third", prompt="nothing")])
    (tmp_path / "cat" / "0.png").unlink()
    (tmp_path / "bear" / "2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError) as caught:
        bench.check()
    text = str(caught.value)
    for part in ("two cases have the id 'Same'", "'cat' does not stand", "no image file", "not a readable image"):
        assert part in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phrase": ["cat"]}, "line 1: unknown field.s. phrase"),
        ({"prompt": None}, "line 1: `prompt` must be a text"),
        ({"generate_with": ["0", "1"]}, "`generate_with` must be a list of photo numbers"),
        ({"generate_with": [True, 0]}, "`generate_with` must be a list of photo numbers"),
        ({"references": ["cat/0.png"]}, "`references` must be a list with a list of photos"),
        ({"boxes": [["0", 0, 1, 1]]}, "`boxes` must be a list of"),
    ],
)
def test_a_line_that_is_no_case_is_refused(tmp_path, change, message):
    (tmp_path / "cases.jsonl").write_text(json.dumps({**json.loads(pair().line()), **change}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_cases(tmp_path)


def test_a_torn_or_missing_case_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no case file at"):
        read_cases(tmp_path)
    (tmp_path / "cases.jsonl").write_text("﻿" + pair().line() + "\n\n" + single().line()[:-9], encoding="utf-8")
    with pytest.raises(ValueError, match="line 3"):
        read_cases(tmp_path)
    photo().save(tmp_path / "cat.png")
    with pytest.raises(ValueError, match="`cat.png` is no UTF-8 text"):
        read_cases(tmp_path / "cat.png")


def test_the_sheet_has_a_row_for_every_case(tmp_path):
    bench = write_bench(tmp_path)
    sheet, half = case_sheet(bench), case_sheet(bench, most=2)
    assert sheet.width == half.width and sheet.height > half.height
    assert case_predicate(bench.cases[0]) == ("hugging", "given by the case")
