"""The notebook's cells run one after another on the miniature, in few steps, and show what its text says."""

import json

import numpy as np
import pytest

from tests.docs.pages import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def names() -> dict:
    """What the cells have made, after all of them ran."""
    found: dict = {}
    for number, code in enumerate(CODE):
        exec(
            compile(
                code.replace("steps = miniature.path(), 25", "steps = miniature.path(), 5"), f"cell {number}", "exec"
            ),
            found,
        )
    return found


def difference(first, second) -> float:
    """Mean of absolute differences, of 255."""
    return float(np.abs(np.subtract(*(np.asarray(picture, dtype=float) for picture in (first, second)))).mean())


def test_it_is_stored_without_outputs():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if cell["cell_type"] == "code")
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


def test_few_steps_were_drawn(names):
    assert names["settings"]["num_inference_steps"] == 5


def test_the_relation_lora_its_weight_and_the_boxes_change_the_picture(names):
    pictures = [names[name] for name in ("alone", "together", "lighter", "exchanged", "through")]
    assert all(difference(first, second) > 1 for first, second in zip(pictures, pictures[1:]))


def test_exchanged_boxes_exchange_the_characters(names):
    """The bear is blue and the cat is red, so the picture's halves exchange their reds and blues."""

    def redness(picture) -> float:
        values = np.asarray(picture, dtype=float)
        red = values[..., 0] - values[..., 2]
        half = red.shape[1] // 2
        return red[:, half:].mean() - red[:, :half].mean()

    assert redness(names["lighter"]) > 10 and redness(names["exchanged"]) < -10


def test_the_triplet_is_read_as_it_was_written(names):
    triplet = names["triplets"][0]
    assert triplet.phrases == ["bear", "cat"] and triplet.predicate == "is shaking hands with"
    assert triplet.prompt == names["prompt"]
