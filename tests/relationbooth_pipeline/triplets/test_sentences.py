"""Sentences that are made of phrases and predicate, read back."""

import pytest

from relationbooth_pipeline.triplets.predicates import relation_sentence, sentence_predicate


@pytest.mark.parametrize(
    "phrases, predicate, sentence",
    [
        (("cat", "elephant"), "hugging", "a cat is hugging an elephant"),
        (("cat", "dog"), "is back to back with", "a cat is back to back with a dog"),
        (("cat",), "playing guitar", "a cat is playing guitar"),
        (("old man", "dog"), "hugs", "an old man hugs a dog"),
        (("cat", "dog", "owl"), "being chased by", "a cat being chased by a dog and an owl"),
    ],
)
def test_a_sentence_says_the_relation_and_is_read_back(phrases, predicate, sentence):
    assert relation_sentence(phrases, predicate) == sentence
    told = sentence_predicate(sentence, phrases)
    assert told == predicate.removeprefix("is ").removeprefix("being ")
