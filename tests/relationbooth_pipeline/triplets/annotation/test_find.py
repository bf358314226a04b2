import itertools
import random

import pytest

from relationbooth_pipeline.triplets.annotation.find import SAME_OBJECT, taken_boxes
from relationbooth_pipeline.vision.detectors import overlap

LEFT, RIGHT = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)


def test_the_phrase_with_the_better_claim_takes_the_box():
    # the dog's detector likes the fox best; the fox is the fox's
    assert taken_boxes([[[*LEFT, 0.8], [*RIGHT, 0.7]], [[*LEFT, 0.9]]]) == [1, 0]
    assert taken_boxes([[[*LEFT, 0.8]], [[*RIGHT, 0.5]]]) == [0, 0]


def test_nobody_takes_what_another_took():
    assert taken_boxes([[[*LEFT, 0.8]], [[*LEFT, 0.9]]]) == [None, 0]
    assert taken_boxes([[], [[*LEFT, 0.9]]]) == [None, 0] and taken_boxes([[], []]) == [None, None]


@pytest.mark.parametrize("seed", range(20))
def test_no_other_choice_is_better(seed):
    """Against all choices: most phrases first, then the highest sum, none on one object."""
    rng = random.Random(seed)

    def box():
        x, y = rng.choice([0.0, 0.05, 0.5]), rng.choice([0.0, 0.05])
        return [x, y, x + 0.4, y + 0.9, round(rng.random(), 3)]

    found = [sorted((box() for _ in range(rng.randrange(4))), key=lambda b: -b[4]) for _ in range(3)]
    values = {}
    for choice in itertools.product(*[[None, *range(len(boxes))] for boxes in found]):
        taken = [found[i][k] for i, k in enumerate(choice) if k is not None]
        pairs = itertools.combinations(taken, 2)
        if not any(overlap(a[:4], b[:4]) > SAME_OBJECT for a, b in pairs):
            values[choice] = len(taken), sum(b[4] for b in taken)
    assert values[tuple(taken_boxes(found))] == max(values.values())
