import json

import pytest

from benchmarks.offloading import main


def test_every_way_draws_and_is_told(tmp_path, capsys):
    pytest.importorskip("accelerate")
    file = tmp_path / "offloading.json"
    ways = ["--ways", "none", "model", "group, leaves, a stream"]
    size = ["--size", "tiny", "--dtype", "float32", "--device", "cpu", "--resolutions", "64", "--steps", "2"]
    assert main([*size, *ways, "--local_tokens", "--output", str(file)]) == 0
    figures = json.loads(file.read_text(encoding="utf-8"))["ways"]
    assert list(figures) == [f"{way}, 64²" for way in ways[1:]]
    assert all(0 < row["step_s"] < row["seconds"] and row["peak_bytes"] is None for row in figures.values())
    assert "group, leaves, a stream" in capsys.readouterr().out
