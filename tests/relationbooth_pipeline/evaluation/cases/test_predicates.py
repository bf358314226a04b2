"""Predicates by rule: all of the paper's prompts, and sentences of our own."""

import pytest

from relationbooth_pipeline.evaluation.benches.relationbench import MULTI_PROMPTS, SINGLE_PROMPTS
from relationbooth_pipeline.evaluation.cases import case_predicate

from ..tiny_bench import pair

NOUNS = (("cat", "bear"), ("plushie penguin", "toy gnome"), ("action figure", "cat"))
OWN_PAIRS = [
    ("a {} is holding hands with a {} at night", "holding hands with"),
    ("A {} hugs a {}.", "hugs"),
    ("A {} and a {} hug.", "hug"),
    ("A {} and a {} are dancing in the rain", "dancing"),
    ("A {} high-fives a {} in a gym", "high-fives"),
    ("The {} was chasing the {} through a forest", "chasing"),
    ("A {} has been feeding its {}", "feeding"),
    ("A {} is giving a {} a piggyback ride in the park", "giving a piggyback ride"),
    ("A {} is back to back with another {}", "back to back with"),
    ("a {} wearing a {}", "wearing"),
    ("A {}, and a {} are singing loudly.", "singing"),
    ("A {} kisses the {} softly", "kisses"),
    ("A {} sits inside a {}", "sits inside"),
    ("A {} is being carried by a {}", "carried by"),
    ("A {} is leaning on a {}", "leaning on"),
    ("A {} bows to a {} at court", "bows to"),
    ("A {} is racing against a {} down a hill", "racing against"),
    ("A {} tickles a {}", "tickles"),
    ("A {} plays tennis with a {}", "plays tennis with"),
    ("A {} is pushing a {} on a swing", "pushing"),
    ("a {} and a {} in a room", None),
    ("photo of a {} and a {}", None),
    ("a {} of brass, a {}", None),
]
OWN_SINGLES = [
    ("a {} is waving", "waving"),
    ("a {} is jumping in a meadow", "jumping"),
    ("A {} juggles three balls on stage", "juggles three balls"),
    ("A {} is painting a picture, quietly.", "painting a picture"),
    ("A {} was asleep under a tree", "asleep"),
    ("A {} is climbing up a ladder", "climbing"),
    ("A {} reads", "reads"),
    ("A {} is happily eating cake", "happily eating cake"),
    ("A {} flies a kite", "flies a kite"),
    ("A {} is doing yoga at dawn", "doing yoga"),
    ("A {} swims slowly", "swims"),
    ("A {} is blowing out candles", "blowing out candles"),
    ("A {} drives a bus across town", "drives a bus"),
    ("A {} is drinking tea!", "drinking tea"),
    ("a {} in the jungle", None),
    ("a {} on top of a wooden floor", None),
    ("a {}", None),
]


def found(template, nouns, rule="with_object"):
    count = template.count("{}")
    names = nouns[:count]
    case = pair(prompt=template.format(*names), phrases=names, predicate=None)
    return case_predicate(case, rule)[0]


@pytest.mark.parametrize("nouns", NOUNS)
@pytest.mark.parametrize(("template", "predicate"), SINGLE_PROMPTS + MULTI_PROMPTS)
def test_the_paper_s_prompts(template, predicate, nouns):
    assert found(template, nouns) == predicate


@pytest.mark.parametrize("nouns", NOUNS)
@pytest.mark.parametrize(("template", "predicate"), OWN_PAIRS + OWN_SINGLES)
def test_sentences_of_our_own(template, predicate, nouns):
    assert found(template, nouns) == predicate


def test_there_are_forty_sentences_of_our_own():
    assert len({template for template, _ in OWN_PAIRS + OWN_SINGLES}) == 40


@pytest.mark.parametrize(
    ("template", "verb"),
    [
        ("A {} is playing chess with a {}", "playing"),
        ("A {} is partner dancing with a {}", "dancing"),
        ("A {} shakes hands with a {}", "shakes"),
        ("A {} is hugging a {}", "hugging"),
    ],
)
def test_the_bare_verb_as_the_released_triplets_have_it(template, verb):
    assert found(template, NOUNS[0], "verb") == verb


def test_an_explicit_predicate_wins_and_loses_its_auxiliary():
    case = pair(predicate="is shaking hands with")
    assert case_predicate(case) == ("shaking hands with", "given by the case")
    assert case_predicate(case, "verb")[0] == "shaking"


def test_without_a_predicate_the_reason_is_told():
    assert case_predicate(pair(prompt="a cat and a bear", predicate=None)) == (
        None,
        "no predicate stands between or after the phrases",
    )
    with pytest.raises(ValueError, match="`predicate_rule` must be one of with_object, verb, got 'noun'"):
        case_predicate(pair(), "noun")
