import pytest

from relationbooth_pipeline.triplets import sentence_predicate


@pytest.mark.parametrize(
    "prompt, phrases, predicate",
    [
        ("A bear is hugging a tiger.", ["bear", "tiger"], "hugging"),
        ("A wolf and a leopard hug.", ["wolf", "leopard"], "hug"),
        ("A wolf, a leopard and a fox hug.", ["wolf", "leopard", "fox"], "hug"),
        (
            "A kangaroo is standing back to back with another one, a wombat",
            ["kangaroo", "wombat"],
            "standing back to back with",
        ),
        ("A kangaroo stands back to back with its wombat", ["kangaroo", "wombat"], "stands back to back with"),
        ("An owl shakes hands with another owl", ["owl", "owl"], "shakes hands with"),
        ("A fox is giving a mole a lift home on a sledge", ["fox", "mole"], "giving a lift home"),
        ("A fox is pushing a mole through a tunnel", ["fox", "mole"], "pushing"),
        ("A mole is playing the drums in a cellar", ["mole"], "playing the drums"),
        ("A mole is singing happily, at night", ["mole"], "singing"),
        ("A mole has been riding a butterfly", ["mole"], "riding a butterfly"),
        ("A mole in a garden", ["mole"], None),
        ("a photo of a fox and a mole", ["fox", "mole"], None),
        ("a fox and a mole in the style of an old film", ["fox", "mole"], None),
        ("A Fox hugs a MOLE", ["fox", "mole"], "hugs"),
        ("a fox", ["mole"], None),
        ("a fox hugs", [], None),
    ],
)
def test_the_words_of_the_relation(prompt, phrases, predicate):
    assert sentence_predicate(prompt, phrases) == predicate


def test_other_nouns_give_the_same_words():
    sentence = "A {0} is partner dancing with a {1} in a hall"
    for nouns in (("fox", "mole"), ("polar bear", "dance teacher"), ("Mr. Fox", "mole's aunt")):
        assert sentence_predicate(sentence.format(*nouns), nouns) == "partner dancing with"
