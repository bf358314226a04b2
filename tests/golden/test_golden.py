"""The recorded vectors, where they are at hand, and the program that reads them."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.golden.__main__ import check_folder, main

RECORDED = Path(__file__).parents[3] / "shared" / "golden"
needs_vectors = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"the recorded vectors are not at {RECORDED}")


@needs_vectors
def test_every_recorded_output_is_reproduced(capsys):
    assert main([str(RECORDED)]) == 0
    assert ", 0 missed, 0 cases broken" in capsys.readouterr().out


@needs_vectors
@pytest.mark.parametrize("name, change", [("resampler", 1e-3), ("phrase_idx", None)])
def test_a_wrong_value_is_a_miss(tmp_path, name, change):
    case = tmp_path / name
    case.mkdir()
    for file in (RECORDED / name).iterdir():
        (case / file.name).write_bytes(file.read_bytes())
    if change:
        state = load_file(case / "data.safetensors")
        key = next(k for k in state if k.endswith("tokens") and k.startswith("out."))
        state[key] += change
        save_file(state, case / "data.safetensors")
    else:
        config = json.loads((case / "config.json").read_text())
        config["items"][0]["span"][0] += 1
        (case / "config.json").write_text(json.dumps(config))
    rows, _, errors = check_folder(tmp_path)
    assert not errors and sum(result.missed for _, result in rows) == 1
    assert main([str(tmp_path)]) == 1


def test_unknown_cases_are_named_and_a_broken_case_counts(tmp_path, capsys):
    for name, kind in (("a", "something else"), ("b", "resampler")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"kind": kind}))
    assert main([str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "a                not covered" in output and "ERROR b" in output


def test_an_empty_folder_is_no_success(tmp_path):
    assert main([str(tmp_path)]) == 2 and main([]) == 2
