"""What each stage may see: identities held out by a hash of their attributes, relations and actions by kind."""

import hashlib
import random

from .identities import all_named_characters, random_character
from .poses import ACTIONS, RELATIONS
from .proportions import HAS_FINE_ATTRIBUTES

# (a) known to base and adapter; (b) known to the base, held out of adapter training; (c) unknown to both.
KINDS = {
    "high_fiving": "a", "back_to_back": "a", "kissing": "a", "holding_hands": "a",
    "hugging": "b", "shaking_hands": "b", "dancing": "c", "carrying": "c",
    "standing": "a", "waving": "a", "jumping": "b", "playing_guitar": "c",
}  # fmt: skip
HELD_OUT_SHARE = 5  # one named identity in five


def poses_of_kinds(kinds, of=None):
    """Names of the poses whose kind is a letter of `kinds`; `of` restricts them to RELATIONS or ACTIONS."""
    return tuple(name for name in (of or {**RELATIONS, **ACTIONS}) if KINDS[name] in kinds)


def is_held_out(character):
    """Whether no stage trains on this identity. Bodies of unnamed colours are always training material."""
    if character.color is None:
        return False
    return hashlib.sha256(character.key.encode()).digest()[0] % HELD_OUT_SHARE == 0


def held_out_characters(fine=HAS_FINE_ATTRIBUTES):
    """Every held-out identity, in a fixed order; see `all_named_characters`."""
    return [character for character in all_named_characters(fine) if is_held_out(character)]


def training_character(rng: random.Random, unnamed_color_share=0.0, fine=HAS_FINE_ATTRIBUTES):
    """A random identity that training may see; see `random_character`."""
    while True:
        character = random_character(rng, unnamed_color_share, fine)
        if not is_held_out(character):
            return character
