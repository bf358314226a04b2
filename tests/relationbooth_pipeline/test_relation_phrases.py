from relationbooth_pipeline.relation_layouts import phrase_span, phrase_spans


def letters(word: str) -> int:
    """A tokenizer that makes every letter a token."""
    return len(word)


def test_span_counts_the_tokens_of_earlier_words():
    assert phrase_span("cat", "a red cat runs", letters) == (5, 8)


def test_later_occurrences_are_found_where_they_are():
    assert phrase_spans(["dog", "dog"], "a dog and a dog.", letters) == [(2, 5), (9, 12)]


def test_punctuation_ends_a_phrase_but_is_not_part_of_it():
    assert phrase_span("toy gnome", "toy gnome!", letters) == (1, 9)
    assert phrase_span("dog", "dog?!", letters) == (0, 0)


def test_absent_and_empty_phrases_have_no_span():
    assert phrase_span("cow", "a dog", letters) == (0, 0)
    assert phrase_span("", "a dog", letters) == (0, 0)
    assert phrase_span("Dog", "a dog", letters) == (0, 0)


def test_last_word_only():
    assert phrase_span("plushie bear", "a plushie bear", letters, last_word_only=True) == (9, 13)
