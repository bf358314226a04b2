"""The lists of pictures that a person looked at are whole, and agreement counts what both say."""

import pytest

from relationbooth_pipeline.miniature.judges import MiniatureJudges
from training.miniature.measure.agreement import AGAIN, LISTS, QUESTIONS, agreement, judged, looked_at, main


@pytest.mark.parametrize("name, count", zip(LISTS, (100, 60, 60)))
def test_every_picture_of_a_list_was_looked_at(name, count):
    listed, pictures = looked_at(name)
    assert len(listed) == count and pictures.shape == (count, 128, 128, 3)
    assert (pictures.std((1, 2, 3)) > 5).all(), "no cell of the sheet is empty"
    for line in listed:
        assert {type(line[question]) for question in QUESTIONS} == {bool}
        assert len(line["boxes"]) == len(line["characters"]) or not line["placed"]


def test_agreement_is_the_share_of_equal_answers():
    yes, no = dict.fromkeys(QUESTIONS, True), dict.fromkeys(QUESTIONS, False)
    assert agreement([yes, no], [yes, no]) == dict.fromkeys(QUESTIONS, 1.0)
    assert agreement([yes, no, no, no], [yes, yes, no, {**no, "broken": True}]) == {
        "relation": 0.75, "broken": 0.5, "species": 0.75,
    }  # fmt: skip


def test_where_no_boxes_say_who_is_who_either_order_is_right():
    listed, pictures = looked_at()
    index = next(i for i, line in enumerate(listed) if not line["placed"] and len(line["characters"]) == 2)
    line, picture = listed[index], pictures[index : index + 1]
    mirrored = {**line, "characters": line["characters"][::-1]}
    first, second = (judged(MiniatureJudges.load(), [one], picture)[0] for one in (line, mirrored))
    assert first == second and set(first) == {*QUESTIONS, "pose"}


def test_a_second_look_says_how_far_a_person_agrees_with_oneself(capsys):
    listed, _ = looked_at("eyes_3")
    share = sum(line["broken"] == line[AGAIN] for line in listed) / len(listed)
    main(["--pictures", "eyes_3"])
    assert (
        f"broken, the person with themselves {share:.3f}, the judges where both looks agree 0."
        in capsys.readouterr().out
    )
    assert share == 0.9
