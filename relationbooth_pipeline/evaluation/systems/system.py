"""What a system is: cases in, pictures out; which cases share a call; and the noise a picture starts from."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..cases import Case, CaseFile


def noise_seed(case_id: str, number: int) -> int:
    """Seed of a picture's starting noise, in [0, 2³²): of case and picture number alone, the same for every system."""
    return int.from_bytes(hashlib.sha256(f"{case_id}/{number}".encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Order:
    """What is asked of a system for one case.

    Attributes:
        photos: the photo of each object that the system gets. seeds: one for each picture, see `noise_seed`.
    """

    case: Case
    photos: Sequence[Image.Image]
    seeds: Sequence[int]


class System(ABC):
    """Turns cases into pictures.

    Attributes:
        name: of its folder of pictures and of its row in every table.
        cases_a_call: at most so many cases are drawn in one call.
        derived: its pictures are copies of another system's, so those of other settings are made again, not refused.
        note: what a reader of its figures must know of it on these cases; known when it is prepared.
    """

    derived = False
    cases_a_call = 1
    note = ""

    def __init__(self, name: str):
        self.name = name

    def prepare(self, cases: CaseFile, root: Path) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse what this system cannot do for `cases`, before any model loads. `root`: the run's folder."""

    @abstractmethod
    def settings(self, case: Case) -> dict:
        """Everything that decides this case's pictures, JSON-ready; kept in each of them."""

    def load(self) -> None:  # noqa: B027 (a pipeline loads itself when it is first called)
        """Bring what `draw` needs; called once, before the first case."""

    def shares_call(self, case: Case) -> Hashable:
        """Equal for cases that one call can draw together."""
        return case.id

    def groups(self, cases: Sequence[Case]) -> list[tuple[int, ...]]:
        """Numbers of the cases that are always drawn together, each case in one group, groups of nearly equal size.

        Who else is in a call may show in a picture's last digits; the groups depend on the cases alone, so a run that
        was left, or shared between processes, ends with the same pictures.
        """
        alike: dict[Hashable, list[int]] = {}
        for number, case in enumerate(cases):
            alike.setdefault(self.shares_call(case), []).append(number)
        found = []
        for numbers in alike.values():
            count = -(-len(numbers) // self.cases_a_call)
            cuts = [round(i * len(numbers) / count) for i in range(count + 1)]
            found += [tuple(numbers[start:end]) for start, end in zip(cuts, cuts[1:])]
        return found

    @abstractmethod
    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        """For each order one picture for each seed, in one call; cases of different `shares_call` are never mixed."""


class OneByOne(System):
    """A system that draws one case after the other."""

    @abstractmethod
    def draw_one(self, order: Order) -> list[Image.Image]:
        """One picture for each seed."""

    def draw(self, orders: Sequence[Order]) -> list[list[Image.Image]]:
        return [self.draw_one(order) for order in orders]
