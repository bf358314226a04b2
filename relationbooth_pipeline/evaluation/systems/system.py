"""What a system is: a case in, pictures out; and the noise every system starts a picture from."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..cases import Case, CaseFile


def noise_seed(case_id: str, number: int) -> int:
    """Seed of a picture's starting noise, in [0, 2³²): of case and picture number alone, the same for every system."""
    return int.from_bytes(hashlib.sha256(f"{case_id}/{number}".encode()).digest()[:4], "big")


class System(ABC):
    """Turns a case into pictures.

    A case's pictures are drawn in one call, always all of them: a batch's size may show in the last digits.

    Attributes:
        name: of its folder of pictures and of its row in every table.
        derived: its pictures are copies of another system's, so those of other settings are made again, not refused.
    """

    derived = False

    def __init__(self, name: str):
        self.name = name

    def prepare(self, cases: CaseFile, root: Path) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse what this system cannot do for `cases`, before any model loads. `root`: the run's folder."""

    @abstractmethod
    def settings(self, case: Case) -> dict:
        """Everything that decides this case's pictures, JSON-ready; kept in each of them."""

    def load(self) -> None:  # noqa: B027 (a pipeline loads itself when it is first called)
        """Bring what `draw` needs; called once, before the first case."""

    @abstractmethod
    def draw(self, case: Case, photos: Sequence[Image.Image], seeds: Sequence[int]) -> list[Image.Image]:
        """One picture for each seed.

        Args:
            photos: the photo of each object that the system gets. seeds: of the starting noise, see `noise_seed`.
        """
