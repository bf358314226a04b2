"""Who lives in the world: the attributes that make a character recognisable, and their random draws."""

import colorsys
import itertools
import math
import random
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Character:
    """One identity. `color` is a key of COLORS, or None for a body colour that has no name in the world."""

    species: str
    color: str | None
    marking: str
    accessory: str
    rgb: tuple[int, int, int]

    @property
    def key(self):
        """Stable text key of the identity, the input of the split's hash."""
        return f"{self.species}/{self.color or self.rgb}/{self.marking}/{self.accessory}"


def named_character(species, color, marking="plain", accessory="none"):
    """The character with one of the named body colours."""
    return Character(species, color, marking, accessory, COLORS[color])


def all_named_characters():
    """Every identity with a named colour: 8 species x 8 colours x 3 markings x 3 accessories = 576."""
    return [named_character(*attributes) for attributes in itertools.product(SPECIES, COLORS, MARKINGS, ACCESSORIES)]


UNNAMED_DISTANCE = 30  # Euclidean, sRGB 0-255: below it, a colour looks like a named one


def random_rgb(rng):
    """A body colour that none of the named ones resembles, never so dark that the outline disappears in it."""
    while True:
        hue, value = rng.random(), rng.uniform(0.5, 1.0)
        saturation = rng.uniform(0.5, 0.9) if rng.random() < 0.6 else rng.uniform(0.0, 0.9)
        rgb = tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
        if min(math.dist(rgb, named) for named in COLORS.values()) >= UNNAMED_DISTANCE:
            return rgb


def random_character(rng: random.Random, unnamed_color_share=0.0):
    """A random identity; plain and bare characters are the commonest (a half each), as in real photos.

    Args:
        rng: source of randomness.
        unnamed_color_share: probability in [0, 1] of a body colour outside the named ones.
    """
    species = rng.choice(SPECIES)
    marking = "plain" if rng.random() < 0.5 else rng.choice(MARKINGS[1:])
    accessory = "none" if rng.random() < 0.5 else rng.choice(ACCESSORIES[1:])
    if rng.random() < unnamed_color_share:
        return Character(species, None, marking, accessory, random_rgb(rng))
    return named_character(species, rng.choice(tuple(COLORS)), marking, accessory)
