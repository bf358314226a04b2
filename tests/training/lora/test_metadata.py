"""What a run writes down of its triplets."""

from training.lora.results import prompt_template


def test_a_template_suits_other_objects():
    assert prompt_template("an owl hugs an old bear", ["owl", "old bear"]) == "a {0} hugs a {1}"
    assert prompt_template("An eel in an inn, a cat", ["cat", "eel"]) == "A {1} in an inn, a {0}"


def test_a_template_s_places_are_whole_words():
    assert prompt_template("a romantic man hugs a catlike cat", ["man", "cat"]) == "a romantic {0} hugs a catlike {1}"
    assert prompt_template("A Bear's hug: a polar bear", ["bear", "polar bear"]) == "A {0}'s hug: a {1}"
    assert prompt_template("a dog and a dog", ["dog", "dog"]) == "a {0} and a {1}"
