"""One pace for all threads that ask the same endpoint; when it says "too many", everybody slows down."""

import threading
import time
from collections.abc import Callable

SLOWEST = 1.0  # requests a minute
RECOVERY = 1.05  # factor of the pace after each answer, up to what it was


class TokenBucket:
    """A token for each request; tokens come at a pace, and up to `burst` of them wait.

    Args:
        per_minute: the pace at best. burst: requests that may go at once. clock: seconds.
    """

    def __init__(self, per_minute: float, burst: int = 1, clock: Callable[[], float] = time.monotonic):
        self.best = self.per_minute = float(per_minute)
        self.burst, self.clock = burst, clock
        self._tokens, self._seen, self._closed_until = float(burst), clock(), 0.0
        self._is_stopped, self._change = False, threading.Condition()

    def take(self) -> bool:
        """Wait for a token; False when there is nothing to wait for any more."""
        with self._change:
            while not self._is_stopped:
                wait = self._wait()
                if wait <= 0:
                    self._tokens -= 1
                    return True
                self._change.wait(wait)
            return False

    def _wait(self) -> float:
        now = self.clock()
        if now < self._closed_until:
            return self._closed_until - now
        begin = max(self._seen, self._closed_until)  # none came while it was closed
        self._tokens = min(float(self.burst), self._tokens + (now - begin) * self.per_minute / 60)
        self._seen = now
        return (1 - self._tokens) * 60 / self.per_minute

    def close(self, seconds: float, slow_down: bool) -> None:
        """Nobody gets a token for some seconds. `slow_down`: the pace is halved, and tokens that waited are gone."""
        with self._change:
            self._closed_until = max(self._closed_until, self.clock() + seconds)
            if slow_down:
                self.per_minute = max(self.per_minute / 2, min(SLOWEST, self.best))
                self._tokens = min(self._tokens, 1.0)
            self._change.notify_all()

    def answered(self) -> None:
        """An answer came: the pace recovers a little."""
        with self._change:
            self.per_minute = min(self.best, self.per_minute * RECOVERY)

    def stop(self) -> None:
        """Let everybody who waits go on without a token."""
        with self._change:
            self._is_stopped = True
            self._change.notify_all()
