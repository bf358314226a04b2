"""Systems without models, and the files that keep their pictures."""

import errno
import textwrap

import numpy as np
import pytest
from PIL import Image

from relationbooth_pipeline.evaluation.systems import (
    Order,
    SystemOptions,
    build_systems,
    draw_cases,
    is_drawn,
    noise_seed,
    picture_path,
)
from relationbooth_pipeline.evaluation.systems import pictures as picture_files
from relationbooth_pipeline.evaluation.systems.baselines import PictureFolder
from relationbooth_pipeline.generation.settings import GenerationSettings
from relationbooth_pipeline.sheets.png_settings import read_png_settings
from tests.tiny import photo

from ..tiny_bench import pair, write_bench


@pytest.fixture
def bench(tmp_path):
    return write_bench(tmp_path / "bench")


@pytest.fixture
def options():
    settings = GenerationSettings(prompt="any", seed=0)
    settings.checked()
    return SystemOptions(settings, collage_size=32)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The name of a module whose `draw` gives pictures of the seed's colour; and a way to change its source."""

    def write(body="return [Image.new('RGB', (16, 16), (seed % 256, 0, 0)) for seed in seeds]"):
        (tmp_path / "mine_drawing.py").write_text(
            textwrap.dedent(f"""
            from PIL import Image
            def draw(case, photos, seeds):
                {body}
            number = 1
            """),
            encoding="utf-8",
        )

    write()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mine_drawing", raising=False)
    return write


def prepared(texts, options, bench, root):
    systems = build_systems(texts, options)
    for system in systems:
        system.prepare(bench, root)
    return systems


def test_noise_is_of_case_and_number_alone():
    seeds = {noise_seed(case, number) for case in ("a", "b", "pair-0") for number in range(50)}
    assert len(seeds) == 150 and noise_seed("a", 0) == noise_seed("a", 0)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_picture_is_one_file_with_its_settings_drawn_once(bench, options, mine, tmp_path):
    (system,) = prepared(["callable:mine_drawing:draw"], options, bench, tmp_path)
    case = bench.cases[0]
    assert draw_cases(tmp_path, system, bench, [case], 2) == 2
    path = picture_path(tmp_path, system.name, case.id, 1)
    kept = read_png_settings(path)
    assert kept["seed"] == noise_seed(case.id, 1) and kept["target"] == "mine_drawing:draw"
    assert np.asarray(Image.open(path))[0, 0, 0] == noise_seed(case.id, 1) % 256
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert draw_cases(tmp_path, system, bench, [case], 2) == 0 and is_drawn(tmp_path, system, bench, case, 2)
    path.unlink()
    assert draw_cases(tmp_path, system, bench, [case], 2) == 1  # only what is missing, and the same again
    assert path.read_bytes() == before[0]


def test_a_picture_of_other_settings_is_refused_and_stays(bench, options, mine, tmp_path):
    (system,) = prepared(["x=collage"], options, bench, tmp_path)
    case = bench.cases[0]
    draw_cases(tmp_path, system, bench, [case], 1)
    path = picture_path(tmp_path, "x", case.id, 0)
    before = path.read_bytes()
    (other,) = prepared(["x=callable:mine_drawing:draw"], options, bench, tmp_path)
    with pytest.raises(ValueError, match="was drawn with other settings .*method: 'collage' there"):
        draw_cases(tmp_path, other, bench, [case], 1)
    photo(77).save(bench.folder / "cat" / "1.png")  # the case's own photo changes
    with pytest.raises(ValueError, match="was drawn with other settings .*case_digest"):
        is_drawn(tmp_path, system, bench, case, 1)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return []", "must give 2 PIL image.s. for a case, got 0 of"),
        ("return ['a', 'b']", "got 2 of .'str'."),
    ],
)
def test_a_function_that_gives_no_pictures_is_told(bench, options, mine, tmp_path, body, message):
    mine(body)
    (system,) = prepared(["callable:mine_drawing:draw"], options, bench, tmp_path)
    with pytest.raises(ValueError, match=message):
        draw_cases(tmp_path, system, bench, [bench.cases[0]], 2)


def test_a_full_disk_leaves_nothing_half_written(bench, options, tmp_path, monkeypatch):
    (system,) = prepared(["collage"], options, bench, tmp_path)

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(picture_files, "save_png", full)
    with pytest.raises(ValueError, match="no space is left for .* it goes on where it stopped"):
        draw_cases(tmp_path, system, bench, [bench.cases[0]], 1)
    assert not list((tmp_path / "pictures").rglob("*.png"))


def test_a_collage_shows_each_photo_in_its_box(bench, options, tmp_path):
    (system,) = prepared(["collage"], options, bench, tmp_path)
    colors = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    picture = np.asarray(system.draw([Order(bench.cases[0], colors, [0])])[0][0])
    assert (picture[16, 4] == (255, 0, 0)).all() and (picture[16, 28] == (0, 0, 255)).all()
    assert (picture[0, 0] == 255).all()


def test_shuffled_pictures_are_those_of_another_case_with_as_many_objects(bench, options, mine, tmp_path):
    base, shuffled = prepared(["mine=callable:mine_drawing:draw", "shuffled:mine"], options, bench, tmp_path)
    case, other = bench.cases[0], bench.cases[1]
    (picture,) = shuffled.draw_one(Order(case, [], [noise_seed(case.id, 0)]))
    assert np.asarray(picture)[0, 0, 0] == noise_seed(other.id, 0) % 256
    assert is_drawn(tmp_path, base, bench, other, 1)  # the base's own turn finds it done
    assert shuffled.settings(case)["pictures_of"] == other.id
    assert shuffled.other["single-0"].id == "single-1"


def test_a_limit_shuffles_among_the_cases_at_work_and_makes_copies_again(bench, options, mine, tmp_path):
    texts = ["mine=callable:mine_drawing:draw", "shuffled:mine"]
    more = write_bench(tmp_path / "more", [pair(f"p{i}") for i in range(8)])
    for cases in (more.limited(2), more):
        base, shuffled = prepared(texts, options, cases, tmp_path)
        for system in (base, shuffled):
            for case in cases.cases:
                draw_cases(tmp_path, system, cases, [case], 1)
        other = shuffled.other["p0"]
        assert other in cases.cases
        first, second = (picture_path(tmp_path, *at, 0) for at in ((shuffled.name, "p0"), (base.name, other.id)))
        assert (np.asarray(Image.open(first)) == np.asarray(Image.open(second))).all()
    assert shuffled.other["p0"].id == "p4"
    alone = bench.limited(1)  # then from the whole file
    assert prepared(texts, options, alone, tmp_path)[1].other["pair-0"].id == "pair-1"


def fill(folder, names):
    folder.mkdir()
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo(i, (12, 12)).save(folder / name)


@pytest.mark.parametrize(
    "names",
    [
        ["pair-0/0.png", "pair-1/0.png", "single-0/0.png", "single-1/0.png"],
        ["pair-0.png", "pair-1.jpg", "single-0.webp", "single-1.png"],
        ["pair-0_0.png", "pair-1_0.png", "single-0_0.png", "single-1_0.png"],
    ],
)
def test_pictures_from_elsewhere(bench, tmp_path, names):
    fill(tmp_path / "theirs", names)
    system = PictureFolder("theirs", tmp_path / "theirs", 1)
    system.prepare(bench, tmp_path)
    draw_cases(tmp_path, system, bench, [bench.cases[1]], 1)
    ours, theirs = picture_path(tmp_path, "theirs", "pair-1", 0), tmp_path / "theirs" / names[1]
    assert (np.asarray(Image.open(ours)) == np.asarray(Image.open(theirs).convert("RGB"))).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pair-0.png", "pair-1.png", "single-0.png"], "1 missing: single-1/0"),
        (["pair-0.png", "pair-1.png", "single-0.png", "single-1.png", "pair-9.png"], "1 extra or oddly named: pair-9"),
        (["pair-0.png", "pair-1.png", "single-0.png", "single-1.png", "notes.txt"], "oddly named: notes.txt"),
        (["pair-0.png", "pair-0/0.png", "pair-1.png", "single-0.png", "single-1.png"], "a second picture 0 of pair-0"),
        (["pair-0.png", "pair-0/1.png", "pair-1.png", "single-0.png", "single-1.png"], "oddly named: pair-0/1"),
    ],
)
def test_folders_with_missing_extra_or_odd_files_are_refused(bench, tmp_path, names, message):
    folder = tmp_path / "theirs"
    fill(folder, [name for name in names if not name.endswith(".txt")])
    for name in names:
        if name.endswith(".txt"):
            (folder / name).write_text("notes", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        PictureFolder("theirs", folder, 1).prepare(bench, tmp_path)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "at least one system must be named"),
        (["flux"], "`system` must be one of ours, .*shuffled:NAME, got 'flux'"),
        (["ours:x"], "`system` ours is written ours, got 'ours:x'"),
        (["folder"], "`system` folder is written folder:PATH, got 'folder'"),
        (["collage", "collage"], "two systems are called 'collage'. Name one: `other=collage`"),
        (["a/b=collage"], "a system's name must be letters"),
        (["shuffled:ours"], "shuffles no system named before it; known: none"),
        (["callable:nowhere_at_all:draw"], "needs `module:function` that can be imported"),
        (["callable:math:pi"], "names a float, not a function"),
        (["ip-adapter:/nowhere"], "`ip-adapter:` must name a local weights file"),
    ],
)
def test_systems_that_cannot_be_are_refused(options, texts, message):
    with pytest.raises(ValueError, match=message):
        build_systems(texts, options)
