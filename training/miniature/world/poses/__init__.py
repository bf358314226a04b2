"""What the characters do: every relation and action of the world, by name.

`EDITIONS` says which of them belong together: weights, judges and benches know those of one edition.
"""

from .actions import jumping, playing_guitar, standing, waving
from .contests import fencing, fighting, playing_basketball, playing_chess, sitting_back_to_back, wrestling
from .pastimes import (
    cooking_lunch,
    dancing_alone,
    eating_dinner,
    lifting_weights,
    playing_piano,
    reading_book,
    singing,
    sleeping,
)
from .relations import (
    back_to_back,
    carrying,
    dancing,
    high_fiving,
    holding_hands,
    hugging,
    kissing,
    shaking_hands,
)
from .sports import playing_soccer, riding_bike, riding_horse, riding_motorbike, skiing

FIRST_RELATIONS = (high_fiving, back_to_back, kissing, holding_hands, hugging, shaking_hands, dancing, carrying)
FIRST_ACTIONS = (standing, waving, jumping, playing_guitar)
MORE_RELATIONS = (playing_chess, fencing, playing_basketball, wrestling, fighting, sitting_back_to_back)
MORE_ACTIONS = (
    playing_piano, eating_dinner, dancing_alone, lifting_weights, reading_book, skiing, sleeping, cooking_lunch,
    singing, riding_bike, riding_horse, riding_motorbike, playing_soccer,
)  # fmt: skip


def _named(*functions):
    return {function.__name__: function for function in functions}


RELATIONS = _named(*FIRST_RELATIONS, *MORE_RELATIONS)
ACTIONS = _named(*FIRST_ACTIONS, *MORE_ACTIONS)
POSES = {**RELATIONS, **ACTIONS}
# An edition's order is that of the classes of its judges, so it never changes; what comes later goes to the end.
EDITIONS = {1: tuple(_named(*FIRST_RELATIONS, *FIRST_ACTIONS))}
EDITIONS[2] = (*EDITIONS[1], *_named(*MORE_RELATIONS, *MORE_ACTIONS))
