"""What a generator is: pictures for sentences, and for sentences about a picture; and how a request may end instead."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from PIL import Image


@dataclass(frozen=True)
class Request:
    """One picture that is asked for.

    Attributes:
        prompt: its sentence. seed: of its noise, in [0, 2³²); endpoints take none. size: (width, height) in pixels.
        images: pictures that the sentence speaks of ("the same cat"); none: drawn from the sentence alone.
        phrases: noun of each of them.
        key: the same for the same request, see `engine.tasks`; an endpoint may know by it what it drew already.
    """

    prompt: str
    seed: int
    size: tuple[int, int]
    images: tuple[Image.Image, ...] = ()
    phrases: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Drawn:
    """A picture, and what its maker said about it."""

    image: Image.Image
    request_id: str | None = None
    usage: dict[str, int] = field(default_factory=dict)


class Undrawn(Exception):
    """A request that gave no picture; the kinds below say what that means for it and for the others.

    Attributes:
        code: short, for the ledger. message: in words, without keys.
    """

    is_paid: ClassVar[bool] = False

    def __init__(self, code: str, message: str, request_id: str | None = None):
        super().__init__(message)
        self.code, self.message, self.request_id = code, message, request_id


class Refused(Undrawn):
    """Never for this request: a moderator's no, or a field that the model does not take."""


class Busy(Undrawn):
    """Later; nothing was drawn.

    Attributes:
        wait: seconds, None when nobody said how long. is_general: others would get the same answer.
    """

    def __init__(self, code: str, message: str, wait: float | None = None, is_general: bool = False):
        super().__init__(code, message)
        self.wait, self.is_general = wait, is_general


class Unanswered(Undrawn):
    """The request went out and no answer came: it may have been drawn, and paid for."""

    is_paid = True


class Unreadable(Undrawn):
    """An answer came, which is paid for, without a picture that can be read."""

    is_paid = True


class Halt(Undrawn):
    """Nobody need ask further: no money left, no access, no such model."""


class Generator(ABC):
    """Draws pictures. What it needs is checked when it is made; its weights load with the first picture.

    Attributes:
        model: as provenance names it.
        can_edit: whether requests may bring images.
        is_paid: every request is written down before it is sent, and counts.
        batch_size: requests of one call. Of a local model the whole batch decides the last digits of each picture, so a
            batch is always drawn whole.
        default_size: (width, height) of plans that name none.
        same_templates: sentences about an object alone, with {0} for its phrase, for plans that bring none.
    """

    model: str
    can_edit: bool = False
    is_paid: bool = False
    batch_size: int = 1
    default_size: tuple[int, int] = (1024, 1024)
    same_templates: tuple[str, ...] = ("The photo of the same {0}, alone and whole, in another pose and place,",)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that decides a picture beside the request, JSON-ready, without keys and this machine's paths."""

    def check(self, prompts: Sequence[str]) -> None:  # noqa: B027 - whoever draws anything leaves it out
        """Raise a ValueError for what this generator cannot do, before anything loads or is sent."""

    @abstractmethod
    def draw(self, requests: Sequence[Request]) -> list[Drawn | Undrawn]:
        """A picture, or why there is none, for each request.

        Args:
            requests: up to `batch_size`, either all with images or all without.
        """

    def free(self) -> None:  # noqa: B027 - whoever holds nothing leaves it out
        """Let the weights go; the next picture loads them again."""
