"""What each stage may see: poses of one edition, by kind; identities held out by a hash of their attributes."""

import hashlib
import random

from .identities import all_named_characters, random_character
from .poses import EDITIONS
from .proportions import EDITION, HAS_FINE_ATTRIBUTES

# (a) known to base and adapter; (b) known to the base, held out of adapter training; (c) unknown to both. Every (b)
# is near an (a) that an adapter may draw in its stead, which the comments name.
KINDS = {
    "high_fiving": "a", "back_to_back": "a", "kissing": "a", "holding_hands": "a",
    "hugging": "b",  # kissing
    "shaking_hands": "b",  # holding hands
    "dancing": "c", "carrying": "c",
    "standing": "a", "waving": "a",
    "jumping": "b",  # waving
    "playing_guitar": "c",
    "playing_chess": "a", "playing_basketball": "a", "fighting": "a",
    "fencing": "b",  # fighting
    "wrestling": "b",  # kissing
    "sitting_back_to_back": "b",  # back to back
    "eating_dinner": "a", "lifting_weights": "a", "reading_book": "a", "sleeping": "a", "riding_bike": "a",
    "playing_soccer": "a",
    "playing_piano": "b",  # eating dinner
    "cooking_lunch": "b",  # standing
    "singing": "b",  # waving
    "riding_horse": "b", "riding_motorbike": "b",  # riding a bike
    "dancing_alone": "c", "skiing": "c",
}  # fmt: skip
PORTRAITS = ("standing", "waving", "lifting_weights", "playing_soccer")  # kind (a), with face and belly all but bare
HELD_OUT_SHARE = 5  # one named identity in five


def known_poses(of=None, edition=None):
    """Names of an edition's poses, in its order.

    Args:
        of: RELATIONS or ACTIONS, to have these alone. edition: key of EDITIONS; default: `EDITION`.
    """
    return tuple(name for name in EDITIONS[edition or EDITION] if of is None or name in of)


def poses_of_kinds(kinds, of=None, edition=None):
    """Names of the known poses whose kind is a letter of `kinds`; `of` and `edition` as for `known_poses`."""
    return tuple(name for name in known_poses(of, edition) if KINDS[name] in kinds)


def portrait_poses(avoid=None, edition=None):
    """Actions for image prompts, which show the whole character; without `avoid`."""
    return tuple(name for name in known_poses(PORTRAITS, edition) if name != avoid)


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
