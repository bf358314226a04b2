"""Who lives in the world: the attributes that make a character recognisable, and their random draws."""

import colorsys
import hashlib
import itertools
import math
import random
from dataclasses import dataclass, replace

from .proportions import HAS_FINE_ATTRIBUTES

# Chosen for silhouettes that differ even when a face is hidden: ears, trunk, beak, eye bumps, snout, mane.
SPECIES = ("rabbit", "cat", "elephant", "duck", "bear", "frog", "pig", "lion")

# Body colours in sRGB, 0-255, spaced so that a 28 dB autoencoder never confuses two of them.
COLORS = {
    "red": (222, 60, 50),
    "blue": (65, 125, 228),
    "green": (82, 176, 76),
    "yellow": (250, 212, 60),
    "purple": (146, 86, 200),
    "white": (246, 244, 240),
    "pink": (250, 150, 192),
    "brown": (146, 94, 56),
}
MARKINGS = ("plain", "spotted", "striped")
ACCESSORIES = ("none", "hat", "scarf")
# Fine attributes, which no caption mentions but those that the base learns from: shapes of `canvas.shape_path`, all of
# equal ink and centred on their centroid, so that a thumbnail shows neither a darker nor a shifted blot.
GLYPHS = ("disc", "ring", "cross", "saltire", "up", "down", "left", "right")
PUPILS = ("disc", "cross", "saltire", "up", "down", "left")


@dataclass(frozen=True)
class Character:
    """One identity.

    Attributes:
        color: key of COLORS, or None for a body colour that has no name in the world.
        glyph, pupils: of GLYPHS and PUPILS, or None in edition 1: no glyph, and plain round pupils.
    """

    species: str
    color: str | None
    marking: str
    accessory: str
    rgb: tuple[int, int, int]
    glyph: str | None = None
    pupils: str | None = None

    @property
    def key(self):
        """Stable text key of the coarse identity, the input of the split's hash: whoever is held out is held out with
        all fine attributes."""
        return f"{self.species}/{self.color or self.rgb}/{self.marking}/{self.accessory}"


def named_character(species, color, marking="plain", accessory="none", glyph=None, pupils=None):
    """The character with one of the named body colours."""
    return Character(species, color, marking, accessory, COLORS[color], glyph, pupils)


def all_named_characters(fine=HAS_FINE_ATTRIBUTES):
    """Every coarse identity with a named colour: 8 species x 8 colours x 3 markings x 3 accessories = 576.

    Args:
        fine: give each a glyph and pupils, chosen by a hash of its key.
    """
    named = [named_character(*attributes) for attributes in itertools.product(SPECIES, COLORS, MARKINGS, ACCESSORIES)]
    return [_with_hashed_details(character) for character in named] if fine else named


def _with_hashed_details(character):
    digest = hashlib.sha256(f"details {character.key}".encode()).digest()
    return replace(character, glyph=GLYPHS[digest[0] % len(GLYPHS)], pupils=PUPILS[digest[1] % len(PUPILS)])


def with_random_details(character, rng):
    """The same coarse identity with other fine attributes."""
    return replace(character, glyph=rng.choice(GLYPHS), pupils=rng.choice(PUPILS))


UNNAMED_DISTANCE = 30  # Euclidean, sRGB 0-255: below it, a colour looks like a named one


def random_rgb(rng):
    """A body colour that none of the named ones resembles, never so dark that the outline disappears in it."""
    while True:
        hue, value = rng.random(), rng.uniform(0.5, 1.0)
        saturation = rng.uniform(0.5, 0.9) if rng.random() < 0.6 else rng.uniform(0.0, 0.9)
        rgb = tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
        if min(math.dist(rgb, named) for named in COLORS.values()) >= UNNAMED_DISTANCE:
            return rgb


def random_character(rng: random.Random, unnamed_color_share=0.0, fine=HAS_FINE_ATTRIBUTES):
    """A random identity; plain and bare characters are the commonest (a half each), as in real photos.

    Args:
        rng: source of randomness.
        unnamed_color_share: probability in [0, 1] of a body colour outside the named ones.
        fine: with a random glyph and pupils.
    """
    species = rng.choice(SPECIES)
    marking = "plain" if rng.random() < 0.5 else rng.choice(MARKINGS[1:])
    accessory = "none" if rng.random() < 0.5 else rng.choice(ACCESSORIES[1:])
    if rng.random() < unnamed_color_share:
        character = Character(species, None, marking, accessory, random_rgb(rng))
    else:
        character = named_character(species, rng.choice(tuple(COLORS)), marking, accessory)
    return with_random_details(character, rng) if fine else character
