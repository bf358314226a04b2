"""Phrases in prompts: found as whole words in any case, with spans in the tokens of CLIP's own tokenizer."""

import pytest
import torch

from relationbooth_pipeline import relation_layouts
from relationbooth_pipeline.relation_layouts import (
    missing_phrases,
    phrase_places,
    phrase_span,
    phrase_spans,
    prompt_spans,
    token_offsets,
    warn_of_missing_phrases,
)
from tests.tiny import tiny_pipeline, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    """One token a word of `WORDS`, one a letter of other words."""
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def span(tokenizer):
    def find(phrase, prompt, **options):
        return phrase_span(phrase, prompt, token_offsets(tokenizer, prompt), **options)

    return find


@pytest.mark.parametrize(
    "phrase, prompt, expected",
    [
        ("cat", "a red cat hugging", (3, 4)),
        ("cat", 'a "cat" is', (3, 4)),
        ("cat", "a cat; a bear", (2, 3)),
        ("cat", "the cat's nap", (2, 3)),
        ("cat", "the cat’s nap", (2, 3)),
        ("cat", "A Cat is", (2, 3)),
        ("CAT", "a cat is", (2, 3)),
        ("cat", "a (cat:1.2)", (3, 4)),
        ("cat", "a cat?!", (2, 3)),
        ("cat", "a [cat]/[dog]", (3, 4)),
        ("dog", "a [cat]/[dog]", (7, 8)),
        ("cat", "catnap, a cat", (8, 9)),  # "catnap" is six letters, "," and "a" are one token each
        ("dog", "a 'dog' is", (3, 6)),  # CLIP splits 'd off: ', d, o, g, '
        ("toy", "a toy is", (2, 5)),
        ("plushie bear", "a plushie bear.", (2, 4)),
        ("plushie bear", "a plushie, bear.", (2, 5)),
        ("dog", "a red-dog is", (2, 5)),  # the hyphenated word belongs to it whole
    ],
)
def test_a_phrase_has_the_tokens_that_hold_it(span, phrase, prompt, expected):
    assert span(phrase, prompt) == expected


@pytest.mark.parametrize(
    "phrase, prompt",
    [
        ("man", "a romantic man-like woman"),
        ("hug", "a cat is hugging a bear"),
        ("cat", "a cat-like bear"),
        ("cat", "a cat_2 and cats"),
        ("cow", "a dog"),
        ("plushie bear", "a bear plushie"),
        ("cafe", "a cafe\u0301"),  # "é" in two characters is one letter
        ("<toy>", "a <toy>_1"),
        ("", "a dog"),
        (" ", "a dog"),
    ],
)
def test_a_phrase_is_never_found_inside_another_word(span, phrase, prompt):
    assert span(phrase, prompt) == (0, 0) and missing_phrases([phrase], prompt) == [phrase]


def test_spans_are_those_of_the_phrase_tokenized_alone(tokenizer):
    """Whatever stands around it, the tokens of the span are the phrase's own."""
    for left in ("", "a ", '("', "the 1st ; ", "it's ", "[", "x-ray, ", "\u2028"):
        for phrase in ("cat", "plushie bear", "toy gnome", "Bär"):
            for right in ("", "'s nap", '")', ":1.2)", "; a dog", "?!"):
                prompt = left + phrase + right
                start, end = phrase_span(phrase, prompt, token_offsets(tokenizer, prompt))
                assert tokenizer(prompt).input_ids[start:end] == tokenizer(phrase).input_ids[1:-1], prompt


def test_no_two_phrases_share_a_place(tokenizer):
    def spans(phrases, prompt):
        return phrase_spans(phrases, prompt, token_offsets(tokenizer, prompt))

    assert spans(["dog", "dog"], "a dog and a dog.") == [(2, 3), (5, 6)]
    assert spans(["dog", "dog"], "a dog and a bear") == [(2, 3), (0, 0)]
    assert spans(["bear", "plushie bear"], "a plushie bear and a bear") == [(6, 7), (2, 4)]
    assert phrase_places(["bear", "plushie bear"], "a plushie bear") == [None, (2, 14)]


def test_skipped_occurrences_and_the_last_word(span):
    assert span("dog", "a dog and a dog", skip=1) == (5, 6)
    assert span("dog", "a dog and a dog", skip=2) == (0, 0)
    assert span("plushie bear", "a plushie bear,", last_word_only=True) == (3, 4)


def test_a_textual_inversion_of_three_vectors_counts_three():
    pipe = tiny_pipeline(adapter=False)
    for encoder, tokenizer in ((pipe.text_encoder, pipe.tokenizer), (pipe.text_encoder_2, pipe.tokenizer_2)):
        pipe.load_textual_inversion(torch.randn(3, 32), token="<toy>", text_encoder=encoder, tokenizer=tokenizer)
    spans = prompt_spans(pipe, [["<toy>", "bear"]], "a <toy> is hugging a bear")
    assert spans.tolist() == [[[2, 5], [8, 9]]]


def test_the_warning_names_prompt_and_phrases(monkeypatch):
    messages = []
    monkeypatch.setattr(relation_layouts.logger, "warning", messages.append)
    warn_of_missing_phrases([["cat", "bear"], ["dog", "man"]], ["A cat hugs a bear.", "a romantic evening"])
    assert len(messages) == 1 and "'a romantic evening' does not say 'dog', 'man'" in messages[0]
