"""`relationbooth evaluate`, as typed."""

import json

import pytest

pytest.importorskip("typer")
from typer.testing import CliRunner  # noqa: E402

from relationbooth_pipeline.commands.main import app  # noqa: E402
from tests.tiny import photo  # noqa: E402

from .tiny_bench import pair, write_bench  # noqa: E402
from .tiny_run import SYSTEMS  # noqa: E402


def typed(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_cases_are_written_checked_and_shown(tmp_path):
    for i, name in enumerate(("pet_cat1", "toy_bear")):
        (tmp_path / "benchmark_dataset" / name).mkdir(parents=True)
        photo(i).save(tmp_path / "benchmark_dataset" / name / "0.png")
    (tmp_path / "p.txt").write_text("the {0} hugging a {1}\nphoto of {1} and {0}\n", encoding="utf-8")
    concepts = [
        {"class_prompt": n, "instance_data_dir": f"x/{d}"} for n, d in (("cat", "pet_cat1"), ("bear", "toy_bear"))
    ]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([[*concepts, {"prompt_filename_compose": "p.txt"}]]), encoding="utf-8")
    output, sheet = tmp_path / "cases.jsonl", tmp_path / "sheet.png"
    done = typed("cases", "customconcept101", path, "--output", output, "--sheet", sheet)
    assert done.exit_code == 0, done.output
    assert "2 cases, fingerprint" in done.output and "1 without a predicate" in done.output and sheet.is_file()
    again = typed("cases", output)
    assert again.exit_code == 0 and again.output.splitlines()[0] == done.output.splitlines()[0]


def test_a_run_from_cases_to_page(models, tmp_path):
    write_bench(tmp_path / "bench")
    common = ["--bench", tmp_path / "bench", "--output", tmp_path / "run", "--model", "miniature", "--device", "cpu"]
    common += ["--clip", models["clip"], "--dino", models["dino"], "--height", 32, "--width", 32]
    common += [part for system in SYSTEMS for part in ("--system", system)]
    dry = typed("run", *common, "--dry-run")
    assert dry.exit_code == 0 and "mine: 4 pictures left" in dry.output
    assert not (tmp_path / "run" / "pictures").exists()
    for shard in ("0/2", "1/2"):
        done = typed("run", *common, "--shard", shard)
        assert done.exit_code == 0 and "this shard is done" in done.output, done.output
    done = typed("report", tmp_path / "run", "--against", "collage")
    assert done.exit_code == 0 and "| mine − collage |" in done.output
    assert {p.name for p in (tmp_path / "run").glob("re*")} == {"report.html", "report.md", "results.jsonl"}
    done = typed("compare", tmp_path / "run", tmp_path / "run" / "results.jsonl")
    assert done.exit_code == 0 and "results.jsonl/mine" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--bench", "relationbench"], "is made from your own download"),
        (["run", "--bench", "nowhere.jsonl"], "no case file at `nowhere.jsonl`"),
        (["run", "--system", "flux"], "`system` must be one of"),
        (["run", "--clip", "/nowhere"], "`clip`: the model `/nowhere` has no readable config"),
        (["cases", "dreambench", "/nowhere"], "`--output` must name the case file"),
        (["run", "--against", "nobody", "--dry-run"], "`against` must be one of ours, adapter, sdxl, collage"),
        (["cases", "miniature", "/nowhere"], "a case file takes no sources"),
        (["cases", "miniature", "--sheet", "nowhere/cases.png"], "nowhere` does not exist. Create it first"),
        (["cases", "miniature", "--sheet", "cases.jpg"], "`--sheet` must end in .png"),
        (["report", "."], "is no run"),
        (["vote", ".", "--first", "a", "--second", "b"], "is no run"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = typed(*arguments)
    assert done.exit_code == 1 and message in done.output
    assert not list(tmp_path.iterdir())


def test_a_sheet_never_replaces_a_case_s_own_photo(tmp_path):
    bench = write_bench(tmp_path)
    photos = {file: file.read_bytes() for file in tmp_path.rglob("*.png")}
    for file in photos:
        done = typed("cases", bench.folder, "--sheet", file)
        assert done.exit_code == 1 and "`--sheet` would replace" in done.output
    assert {file: file.read_bytes() for file in photos} == photos == {file: photos[file] for file in bench.photos}


def test_a_bench_with_faults_is_refused_with_all_of_them(tmp_path):
    bench = write_bench(tmp_path / "bench", [pair(), pair()])
    (bench.folder / "bear" / "1.png").unlink()
    done = typed("run", "--bench", bench.folder, "--output", tmp_path / "run")
    assert done.exit_code == 1 and "2 fault(s)" in done.output and not (tmp_path / "run").exists()
