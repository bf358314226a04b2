"""What may be spent: pictures and money, reserved before a request goes out and settled when its outcome is known."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Caps:
    """Bounds of a plan as its user gives them.

    Attributes:
        max_images: pictures in all; None: no bound. max_cost: in the currency of `price`. price: of one picture.
    """

    max_images: int | None = None
    max_cost: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        if self.max_images is not None and self.max_images < 0:
            raise ValueError(f"`--max-images` must be 0 or more, got {self.max_images}.")
        for name in ("max_cost", "price"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"`--{name.replace('_', '-')}` must be 0 or more, got {value}.")
        if self.max_cost is not None and self.price is None:
            raise ValueError(
                "`--max-cost` needs `--price`, what one picture costs you: prices age, so none is built in."
            )

    def check_bound(self, images: int, paid: int) -> None:
        """Raise a ValueError when a plan's pictures, or those of them that cost, exceed what is allowed."""
        cost = paid * (self.price or 0.0)
        if self.max_images is not None and images > self.max_images:
            raise ValueError(
                f"the plan asks for up to {images} pictures, `--max-images` allows {self.max_images}. Lower its count, "
                "or raise the cap; nothing was sent."
            )
        if self.max_cost is not None and cost > self.max_cost + 1e-9:
            raise ValueError(
                f"the plan costs up to {cost:.2f} ({paid} × {self.price:g}), `--max-cost` allows {self.max_cost:g}. "
                "Lower its count, or raise the cap; nothing was sent."
            )

    def shared(self, own: int, total: int) -> "Caps":
        """The part of one process that does `own` of `total` candidates; all parts together stay within the whole."""
        images = None if self.max_images is None else self.max_images * own // max(1, total)
        return Caps(images, None if self.max_cost is None else self.max_cost * own / max(1, total), self.price)


class Budget:
    """What is left of caps, for threads that spend at the same time.

    Args:
        caps: of this process. images, cost: spent before.
    """

    def __init__(self, caps: Caps, images: int = 0, cost: float = 0.0):
        self.caps, self.images, self.cost = caps, images, cost
        self._reserved_images, self._reserved_cost = 0, 0.0
        self._lock = threading.Lock()

    def reserve(self, price: float) -> bool:
        """Set a picture's price aside; False when the caps do not allow it."""
        with self._lock:
            images = self.images + self._reserved_images + 1
            cost = self.cost + self._reserved_cost + price
            if self.caps.max_images is not None and images > self.caps.max_images:
                return False
            if self.caps.max_cost is not None and cost > self.caps.max_cost + 1e-9:
                return False
            self._reserved_images, self._reserved_cost = self._reserved_images + 1, self._reserved_cost + price
            return True

    def settle(self, price: float, images: int, cost: float) -> None:
        """Give back what was reserved, and count what was spent."""
        with self._lock:
            self._reserved_images, self._reserved_cost = self._reserved_images - 1, self._reserved_cost - price
            self.images, self.cost = self.images + images, self.cost + cost
