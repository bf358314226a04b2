"""Short and long texts about scenes, and which of them hold of which scene: what towers learn to tell."""

import itertools
import random
from dataclasses import dataclass, replace

import torch

from ..world.captions import DETAILS, PREDICATES, make_caption, with_article
from ..world.identities import Character
from ..world.poses import ACTIONS, RELATIONS
from ..world.rendering import BACKGROUNDS
from ..world.splits import known_poses
from .scenes import Draw


@dataclass(frozen=True)
class Facts:
    """What is true of a picture. `pose` is None where nothing is shown rightly (photos pasted side by side)."""

    characters: tuple[Character, ...]
    pose: str | None
    background: str | None


@dataclass(frozen=True)
class Statement:
    """A text and what it claims.

    Attributes:
        wanted: attributes of each character that it mentions. poses: those it may mean; None: it says nothing of them.
    """

    text: str
    wanted: tuple[tuple[tuple[str, str], ...], ...] = ()
    poses: tuple[str, ...] | None = None
    background: str | None = None

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of a picture; only "carrying" knows an order of its characters."""
        if self.poses is not None and facts.pose not in self.poses:
            return False
        if self.background is not None and facts.background != self.background:
            return False
        if len(self.wanted) > len(facts.characters):
            return False
        orders = itertools.permutations(facts.characters, len(self.wanted))
        if len(self.wanted) == 2 and self.poses == ("carrying",):
            orders = [facts.characters]
        return any(
            all(getattr(c, name) == value for c, wanted in zip(order, self.wanted) for name, value in wanted)
            for order in orders
        )


def _said(character: Character, detail: str) -> tuple[tuple[str, str], ...]:
    """The attributes that a noun of `detail` mentions."""
    if detail == "animal":
        return ()
    names = ("species",) if detail == "species" else ("species", "color", "marking", "accessory")
    found = [(name, getattr(character, name)) for name in names]
    return tuple((name, value) for name, value in found if value not in (None, "plain", "none"))


def caption_statement(facts: Facts, rng: random.Random) -> Statement:
    """A whole caption that holds of the picture, if it shows its pose."""
    detail = rng.choice(DETAILS[:2] if len(facts.characters) > 1 else DETAILS)
    background = facts.background if rng.random() < 0.5 else None
    caption = make_caption(facts.characters, facts.pose, background, detail)
    wanted = tuple(_said(character, detail) for character in facts.characters)
    return Statement(caption.text, wanted, (facts.pose,), background)


def predicate_statement(pose: str, rng: random.Random) -> Statement:
    """A relation's words alone: "is shaking hands with", "shaking hands with", "shaking hands" or "shaking"."""
    words = PREDICATES[pose].split()
    verb = next((word for word in words[1:] if word.endswith("ing")), words[1])
    forms = [words, words[1:], words[1:], [word for word in words[1:] if word != "with"], [verb]]
    text = " ".join(rng.choice(forms))
    return Statement(text, (), tuple(p for p in known_poses() if f" {text} " in f" {PREDICATES[p]} "))


def phrase_statement(character: Character, rng: random.Random) -> Statement:
    """A noun with a random part of its attributes: "a red cat", "cat", "striped cat wearing a hat"."""
    said = dict(_said(character, "full"))
    for name in ("color", "marking", "accessory"):
        if rng.random() < 0.5:
            said.pop(name, None)
    words = [said[name] for name in ("color", "marking", "species") if name in said]
    text = " ".join([*words, "wearing", "a", said["accessory"]] if "accessory" in said else words)
    return Statement(with_article(text) if rng.random() < 0.5 else text, (tuple(said.items()),))


def with_exchanged(first: Character, second: Character, rng: random.Random) -> tuple[Character, Character]:
    """Two characters after they exchanged their colours, with their rgb, or their species."""
    if rng.random() < 0.5:
        return (
            replace(first, color=second.color, rgb=second.rgb),
            replace(second, color=first.color, rgb=first.rgb),
        )
    return replace(first, species=second.species), replace(second, species=first.species)


def hard_group(rng: random.Random, draw: Draw) -> list[Facts]:
    """Four pictures that differ in one thing each: as it is, another pose, exchanged attributes, other characters."""
    background = rng.choice(tuple(BACKGROUNDS))
    if rng.random() < 0.25:
        pose, other = rng.sample(known_poses(ACTIONS), 2)
        who, stranger = draw(rng), draw(rng)
        group = [((who,), pose), ((who,), other), ((stranger,), pose), ((stranger,), other)]
    else:
        pose, other = rng.sample(known_poses(RELATIONS), 2)
        pair = draw(rng), draw(rng)
        stranger = (pair[0], draw(rng)), rng.choice((pose, other))
        group = [(pair, pose), (pair, other), (with_exchanged(*pair, rng), pose), stranger]
    return [Facts(tuple(characters), pose, background) for characters, pose in group]


def truth(statements: list[Statement], facts: list[Facts]) -> torch.Tensor:
    """(T, B) float: which statement holds of which picture."""
    return torch.tensor([[float(statement.holds(fact)) for fact in facts] for statement in statements])
