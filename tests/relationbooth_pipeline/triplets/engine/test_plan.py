"""A plan gives the same prompts and seeds every time, and refuses what could not be drawn or told apart."""

import pytest

from relationbooth_pipeline.triplets.engine.plan import Plan, read_plan

from .drawn_plan import small_plan


def test_groups_and_scenes_take_turns():
    found = small_plan(count=2, scenes=("in a meadow", "at night")).candidates()
    assert [(planned.id, planned.phrases, planned.prompt) for planned in found] == [
        ("hugging-0000", ("cat", "bear"), "a cat is hugging a bear in a meadow"),
        ("hugging-0001", ("fox", "owl"), "a fox is hugging an owl in a meadow"),
        ("hugging-0002", ("cat", "bear"), "a cat is hugging a bear at night"),
        ("hugging-0003", ("fox", "owl"), "a fox is hugging an owl at night"),
    ]


def test_an_object_alone_is_in_another_scene_and_its_own_sentence():
    plan = small_plan(scenes=("in a meadow", "at night"), same_templates=("a {0} is standing", "a {0} is waving"))
    first = plan.candidates()[1]
    assert plan.same_prompt(first, 0) == "a fox is standing at night"
    assert plan.same_prompt(first, 1) == "an owl is waving in a meadow"
    plan = small_plan(scenes=())
    assert plan.same_prompt(first, 1, ["The photo of the same {0}, alone,"]) == "The photo of the same owl, alone"


def test_seeds_are_of_plan_candidate_and_object_alone():
    short, long = small_plan(count=1), small_plan(count=5)
    first = short.candidates()[0]
    assert first == long.candidates()[0]
    seeds = [short.seed_of(first), short.seed_of(first, 0), short.seed_of(first, 1), small_plan(seed=1).seed_of(first)]
    assert seeds[:3] == [long.seed_of(first), long.seed_of(first, 0), long.seed_of(first, 1)]
    assert len({*seeds}) == 4 and all(0 <= seed < 2**32 for seed in seeds)


def test_the_predicate_is_found_or_checked_in_the_sentence():
    assert small_plan(predicate="").with_predicate().predicate == "hugging"
    assert small_plan().with_predicate() == small_plan()
    with pytest.raises(ValueError, match="'hug' must stand in 'a cat is hugging a bear in a meadow' as words of"):
        small_plan(predicate="hug").with_predicate()
    with pytest.raises(ValueError, match="no relation's words in 'a cat and a bear'"):
        small_plan(predicate="", template="a {0} and a {1}", scenes=()).with_predicate()


def test_a_known_plan_is_not_looked_up_again(monkeypatch):
    plan = small_plan(predicate="")
    known = {"kind": "make", **plan.with_predicate().as_record()}
    known = {
        k: [list(v) if isinstance(v, tuple) else v for v in x] if isinstance(x, tuple) else x for k, x in known.items()
    }
    monkeypatch.setattr("relationbooth_pipeline.relation_layouts.missing_phrases", None)
    assert plan.with_predicate(known).predicate == "hugging"
    with pytest.raises(TypeError):  # another plan is looked at
        small_plan(predicate="", seed=1).with_predicate(known)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objects": (("cat", "Cat "),)}, r"two of \['cat', 'Cat '\] are the same word"),
        ({"objects": ()}, "at least one group"),
        ({"objects": (("cat",),)}, r"`template` must have each of \{0\} once"),
        ({"template": "a {0} is hugging a {0}"}, r"each of \{0\}, \{1\} once"),
        ({"template": "a {0} is hugging a {1} {x}"}, "no other braces"),
        ({"same_templates": ("a cat",)}, r"`same_templates` must have each of \{0\} once"),
        ({"relation": "Shaking hands"}, "`relation` must be small letters"),
        ({"count": 0}, "`count` must be a whole number from 1"),
        ({"seed": -1}, "`seed` must be a whole number"),
        ({"size": (100, 64)}, "multiples of 8"),
        ({"scenes": ("sk-abcdefghijklmnop",)}, "`plan` holds what looks like a key"),
        ({"scenes": ("see https://me:secret@host/v1",)}, "`plan` holds what looks like a key or a password"),
    ],
)
def test_what_a_plan_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        small_plan(**changes)


def test_a_plan_is_read_from_yaml_and_options_stand_before_it(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(
        "\ufeffrelation: hugging\ntemplate: a {0} is hugging a {1}\nobjects: [[cat, bear], [fox,  owl]]\n"
        "scenes: in a meadow\nsize: 64\ncount: 2\n",
        encoding="utf-8",
    )
    assert read_plan(file, {"count": 3, "seed": None}) == Plan(
        relation="hugging",
        template="a {0} is hugging a {1}",
        objects=(("cat", "bear"), ("fox", "owl")),
        scenes=("in a meadow",),
        size=(64, 64),
        count=3,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read"),
        ("just words", "must be fields"),
        ("relation: hug\nkey: 1", "a plan has no field key; it has count, objects"),
        ("relation: hug", "the plan lacks template, objects"),
        ("relation: hug\ntemplate: x\nobjects: cat", "`objects` must be groups"),
        (
            "relation: hug\ntemplate: x\nobjects: [[yes, cat]]",
            "`objects` must be texts.*put words like yes and no in quotes",
        ),
        ("relation: hug\ntemplate: x\nobjects: [[a]]\nsize: [1, 2, 3]", "one number or .width, height."),
        ("relation: hug\ntemplate: x\nobjects: [[a]]\nscenes: [sk-0123456789abcdef]", "holds what looks like a key"),
    ],
)
def test_what_a_plan_s_file_refuses(tmp_path, text, message):
    file = tmp_path / "plan.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as raised:
        read_plan(file, {})
    assert "0123456789" not in str(raised.value)
