"""A card from its facts alone."""

import pytest
from huggingface_hub import DatasetCardData
from huggingface_hub.repocard import RepoCard

from relationbooth_pipeline.triplets.card import CardFacts, dataset_card


def facts(**changes) -> CardFacts:
    known = {"predicates": ["is hugging", "hugging"], "candidates": 9, "accepted": 7, "exported": 5, "reviewed": 5}
    return CardFacts(**{**known, **changes})


@pytest.mark.parametrize(
    "count, size",
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (100_000, "100K<n<1M"), (10**6, "n>1M")],
)
def test_its_front_matter_is_what_the_hub_validates(count, size):
    card = RepoCard(dataset_card(facts(exported=count, licence="cc-by-4.0")), ignore_metadata_errors=False)
    given = card.data.to_dict()
    assert DatasetCardData(**given).to_dict() == given
    assert given["size_categories"] == size and given["pretty_name"] == "Triplets: hugging"
    assert given["configs"][0]["data_files"] == [{"split": "train", "path": "**"}]


def test_what_is_not_known_is_said():
    text = dataset_card(facts(generators=["painter"], reviewed=0))
    for words in (
        "licences of the generators are not stated",
        "all unseen here",
        "nobody looked for them",
        "No rule refused",
    ):
        assert words in text
    assert "Nobody has looked at any of these" in text and "states no consent of people" in text
    assert "consent" in text.lower() and "$" not in text.replace("\\$", "")
