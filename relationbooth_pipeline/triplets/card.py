"""The card of a folder of triplets: what is in it, where it comes from, who annotated and filtered it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from .predicates import AUXILIARIES

TEMPLATE = Path(__file__).with_name("card.md")


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
        predicates: words of the relation. candidates, accepted, exported: yields: all, by the filters, in the folder.
        reviewed: how many of the exported ones a person accepted. rules: how many candidates each rule refused.
        thresholds: as `Thresholds.describe` gives them. annotators: stage → checkpoints. generators: models that drew
            pictures; none: photos. keypoint_orders: of the triplets; none: nobody looked for keypoints.
        licence: of the data set, as the Hub names licences. generator_licences: as the user states them.
        people: whether its photos show people.
    """

    predicates: Sequence[str]
    candidates: int
    accepted: int
    exported: int
    reviewed: int
    rules: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping] = field(default_factory=dict)
    annotators: Mapping[str, Sequence[str]] = field(default_factory=dict)
    generators: Sequence[str] = ()
    keypoint_orders: Sequence[str] = ()
    licence: str | None = None
    generator_licences: Sequence[str] = ()
    people: bool = False


def dataset_card(facts: CardFacts) -> str:
    """Markdown with the front matter of a Hub dataset."""
    from huggingface_hub import DatasetCardData

    relation = ", ".join(dict.fromkeys(_bare(predicate) for predicate in facts.predicates))
    matter = DatasetCardData(
        license=facts.licence,
        task_categories=["text-to-image"],
        tags=["relationbooth", "image", "text"],
        size_categories=_size(facts.exported),
        pretty_name=f"Triplets: {relation}",
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "**"}]}],
    )
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        relation=relation,
        count=facts.exported,
        keypoints=f"order {' or '.join(facts.keypoint_orders)}" if facts.keypoint_orders else "all unseen here",
        sources=_sources(facts),
        annotators=_annotators(facts),
        **{"yield": _yields(facts)},
        rules=_rules(facts),
        consent=_consent(facts),
    )
    return f"---\n{matter.to_yaml()}\n---\n\n{text}"


def _bare(predicate: str) -> str:
    """The words without auxiliary verbs before them: "is shaking hands with" → "shaking hands with"."""
    words = predicate.split()
    while len(words) > 1 and words[0].lower() in AUXILIARIES:
        words = words[1:]
    return " ".join(words)


def _size(count: int) -> str:
    """The Hub's name of a number of rows."""
    steps = (1000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M")
    before = "n"
    for most, name in steps:
        if count < most:
            return f"n<{name}" if before == "n" else f"{before}<n<{name}"
        before = name
    return "n>1M"


def _sources(facts: CardFacts) -> str:
    if not facts.generators:
        return "Photos and pictures that were given; no model drew them here."
    stated = "\n".join(f"- {line}" for line in facts.generator_licences)
    drawn = "Drawn by:\n\n" + "\n".join(f"- `{name}`" for name in facts.generators)
    return drawn + (
        f"\n\nLicences of the generators, as the data set's author states them:\n\n{stated}"
        if stated
        else "\n\nThe licences of the generators are not stated."
    )


def _annotators(facts: CardFacts) -> str:
    lines = [f"- {stage}: {', '.join(f'`{name}`' for name in names)}" for stage, names in facts.annotators.items()]
    if not facts.keypoint_orders:
        lines.append("- keypoints: nobody looked for them; the keypoint matching loss does not act.")
    return "\n".join(lines) or "People."


def _yields(facts: CardFacts) -> str:
    text = f"Of {facts.candidates} candidates the filters accepted {facts.accepted}; {facts.exported} are here."
    unseen = facts.exported - facts.reviewed
    if not unseen:
        return f"{text} A person looked at all of them."
    return f"{text} Nobody has looked at {'any' if not facts.reviewed else unseen} of these."


def _rules(facts: CardFacts) -> str:
    if not facts.rules:
        return "No rule refused a candidate."
    rows = "\n".join(f"| `{rule}` | {count} |" for rule, count in facts.rules.items())
    return f"| rule | candidates that it refused |\n|---|---|\n{rows}"


def _consent(facts: CardFacts) -> str:
    if facts.people:
        return "Photos of people are here with their written consent, as the data set's author states."
    return "The data set's author states no consent of people: photos of people do not belong here without it."
