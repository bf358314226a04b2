"""The miniature bench repeats, and the truth that metrics are held against is what it says."""

import numpy as np
import pytest

pytest.importorskip("skia")

from relationbooth_pipeline.evaluation.benches.miniature import FOLDER  # noqa: E402
from relationbooth_pipeline.evaluation.cases import read_cases  # noqa: E402
from training.miniature.bench import choose_characters, write_bench  # noqa: E402
from training.miniature.measure.metric_validity import VARIANTS, _by_question, draw_case  # noqa: E402
from training.miniature.world.splits import is_held_out  # noqa: E402


def test_the_bench_that_ships_is_the_one_that_is_drawn(tmp_path):
    write_bench(tmp_path / "bench")
    assert read_cases(tmp_path / "bench").check().cases == read_cases(FOLDER).cases
    shipped, drawn = (sorted(f.relative_to(root) for root in [place] for f in root.rglob("*.png")) for place in (
        FOLDER, tmp_path / "bench"))  # fmt: skip
    assert shipped == drawn
    assert all(is_held_out(character) for character in choose_characters())


def test_variants_differ_only_in_what_their_name_says(tmp_path):
    case, pictures = draw_case(0, tmp_path)
    right, other, exchanged, stranger, collage = (np.asarray(picture).astype(int) for picture in pictures)
    assert len(VARIANTS) == 5 and not case.faults()
    x0, y0, x1, y1 = (round(v * right.shape[1]) for v in case.boxes[0])
    own, changed = (np.abs(right - image)[y0:y1, x0 : x1 - 12].mean() for image in (stranger, exchanged))
    assert own < changed / 4  # the first character is itself beside a stranger, and another when exchanged
    assert np.abs(right - other).mean() > 1 and np.abs(right - collage).mean() > 1


def test_an_auc_is_of_right_against_wrong_pictures():
    rows = np.array([[3.0, 1.0, 0.0, 3.0, 9.0], [4.0, 1.0, 0.0, 4.0, 9.0]])
    found = _by_question(rows)
    assert found["relation"][0] == 1 and found["exchange"][0] == 1
    assert found["stranger"][0] == 0.5 and found["collage"][0] == 0
