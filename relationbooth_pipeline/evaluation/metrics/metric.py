"""What a metric is: columns with all that a figure needs to be understood, and one value a picture."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from PIL import Image

from ..cases import Case, CaseFile

DIGITS = 6  # of kept values; float32 features hold about seven


@dataclass(frozen=True)
class Column:
    """One figure, and what must be said beside it.

    Attributes:
        name: as in tables. meaning: one sentence. checkpoint, preprocessing: of the model.
        scale: from what the model gives to the figure. pairing: what is compared with what, and how it is averaged.
    """

    name: str
    meaning: str
    checkpoint: str = "–"
    preprocessing: str = "–"
    scale: str = "–"
    pairing: str = "–"
    higher_is_better: bool = True

    @property
    def digits(self) -> int:
        """After the point, the same for every figure of the column: an interval's ends are read together."""
        return 1 if "100·" in self.scale else 3 if "cos" in self.scale else 2

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Value:
    """A figure of one picture; None and the reason where it is not defined. `note` may also explain a figure."""

    figure: float | None
    note: str = ""


class Metric(ABC):
    """Several columns from one look at a picture."""

    columns: tuple[Column, ...]

    @abstractmethod
    def score(self, cases: CaseFile, case: Case, pictures: Sequence[Image.Image]) -> dict[str, list[Value]]:
        """Column name → one value for each of the case's pictures (RGB)."""
