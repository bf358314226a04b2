"""Requests to a paid endpoint: several at a time at one pace, each written down before it is sent, none paid twice."""

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from ..generators import Busy, Drawn, Generator, Halt, Refused, Undrawn, Unreadable
from .budget import Budget
from .ledger import Ledger
from .tasks import Tally, Task, Tell, picture_of
from .token_bucket import TokenBucket
from .work_folder import WorkFolder

WASTED = 3  # requests in a row that are paid for and give no picture, after which nobody asks further
LONG_WAIT = 120.0  # seconds; whoever asks for more is waited for only when the user says so


@dataclass(frozen=True)
class Manners:
    """How an endpoint is asked.

    Attributes:
        workers: requests at a time. per_minute: requests of all together, at best.
        tries: of a request that was surely not drawn. backoff: seconds before the second, doubled for each further.
        on_long_wait: "wait" or "stop", when an endpoint asks for more than `LONG_WAIT`.
        again: also send once more what ended for good: refused, or paid for and broken.
    """

    workers: int = 4
    per_minute: float = 60.0
    tries: int = 6
    backoff: float = 2.0
    on_long_wait: str = "stop"
    again: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (("workers", 1, 64), ("per_minute", 0.01, 100_000), ("tries", 1, 100)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"`--{name.replace('_', '-')}` must be from {least} to {most}, got {getattr(self, name)}."
                )
        if self.on_long_wait not in ("wait", "stop"):
            raise ValueError(f"`--on-long-wait` must be wait or stop, got {self.on_long_wait!r}.")

    def shared(self, count: int) -> "Manners":
        """Of one of `count` processes that ask at the same time: all together keep the pace."""
        return replace(self, workers=max(1, self.workers // count), per_minute=max(0.01, self.per_minute / count))


class Asking:
    """One stage's requests.

    Args:
        tell: called with the tally after every outcome, from one thread at a time.
    """

    def __init__(
        self, work: WorkFolder, generator: Generator, ledger: Ledger, budget: Budget, manners: Manners, tell: Tell
    ):
        self.work, self.generator, self.ledger, self.budget = work, generator, ledger, budget
        self.manners, self._tell = manners, tell
        self.price = budget.caps.price or 0.0
        self.bucket = TokenBucket(manners.per_minute, manners.workers)
        self.halt: Undrawn | None = None
        self._lock, self._wasted = threading.Lock(), 0

    def run(self, tasks: Sequence[Task]) -> Tally:
        """Send what has no outcome yet.

        Raises:
            ValueError: the endpoint lets nobody go on; everything so far is kept.
        """
        self.tally = Tally(
            tasks[0].stage if tasks else "", len(tasks), images=self.budget.images, cost=self.budget.cost
        )
        waiting = [task for task in tasks if not self._is_settled(task)]
        self._count()
        with ThreadPoolExecutor(self.manners.workers) as pool:
            futures = [pool.submit(self._one, task) for task in waiting]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:  # Ctrl-C too: nothing further is sent, what is under way is kept
                self._stop(pool)
                raise
        if self.halt is not None:
            raise ValueError(
                f"the endpoint lets nobody go on ({self.halt.code}: {self.halt.message}). {self.tally.words()}. What "
                "came is kept, and nothing is paid twice: start the same command again when that is mended."
            )
        return self.tally

    def _stop(self, pool: ThreadPoolExecutor) -> None:
        self.bucket.stop()
        pool.shutdown(wait=False, cancel_futures=True)

    def _is_settled(self, task: Task) -> bool:
        account = self.ledger.account(task.key)
        if picture_of(self.work, self.ledger, task.key):
            self.tally.done += 1
            return True
        if account.is_final and not self.manners.again:
            ended = "refused" if account.status == "refused" else "failed"
            setattr(self.tally, ended, getattr(self.tally, ended) + 1)
            return True
        return False

    def _one(self, task: Task) -> None:
        if self.halt is not None:
            return
        if not self.budget.reserve(self.price):
            self._count(left_out=1)
            return
        images = 0
        try:
            images = self._sent(task)
        except BaseException:  # here, not where results are gathered: another worker would send one more meanwhile
            self.bucket.stop()
            raise
        finally:
            self.budget.settle(self.price, images, self.price * images)
        self._count()

    def _sent(self, task: Task) -> int:
        """Send a request until it has an outcome; the pictures that it counts (0 or 1)."""
        request, before = task.request(self.work), self.ledger.account(task.key)
        is_lost = before.is_lost
        if before.ended:  # under its old key a server that knows keys would repeat its old answer
            request = replace(request, key=f"{task.key}-{before.ended}")
        what = {"stage": task.stage, "index": task.index, "model": self.generator.model}
        self.ledger.write("reserved", task.key, task.candidate, 1, self.price, **what)
        for attempt in range(1, self.manners.tries + 1):
            if not self.bucket.take():
                return 0
            self.ledger.write("sent", task.key, task.candidate, 1, self.price, attempt=attempt, **what)
            if is_lost and attempt == 1:
                self._count(again=1)
            answer = self.generator.draw([request])[0]
            if isinstance(answer, Drawn):
                self._keep(task, answer)
                return 1
            images = int(answer.is_paid)
            self.ledger.write(
                "refused" if isinstance(answer, Refused) else "failed",
                task.key,
                task.candidate,
                images,
                self.price * images,
                code=answer.code,
                message=answer.message,
                request_id=answer.request_id,
                final=isinstance(answer, (Refused, Unreadable)),
            )
            if images:
                self._waste(answer)
            if not isinstance(answer, Busy):
                break
            if not self._wait_for(answer, attempt):
                break
        if isinstance(answer, Halt) or (isinstance(answer, Busy) and answer.is_general):
            self._halted(answer)
        self._count(**{"refused" if isinstance(answer, Refused) else "failed": 1})
        return images

    def _wait_for(self, answer: Busy, attempt: int) -> bool:
        """Let everybody wait as the endpoint says; False when that is too long, or was the last time."""
        wait = answer.wait
        if wait is None:
            wait = min(30.0, self.manners.backoff * 2 ** (attempt - 1)) * random.uniform(0.75, 1.0)
        if wait > LONG_WAIT and self.manners.on_long_wait == "stop":
            self._halted(
                Halt("long_wait", f"it asks to wait {wait:.0f} s (`--on-long-wait wait` does); {answer.message}")
            )
            return False
        if attempt < self.manners.tries:
            self.bucket.close(wait, slow_down=answer.code != "no_connection" and answer.is_general)
            return True
        return False

    def _keep(self, task: Task, drawn: Drawn) -> None:
        """The picture first, then the line that says so: `recover` finds one without the other."""
        digest = task.keep(self.work, drawn, self.generator)
        more = {"picture": digest, "request_id": drawn.request_id, "usage": drawn.usage}
        self.ledger.write("done", task.key, task.candidate, 1, self.price, **more)
        self.bucket.answered()
        self._wasted = 0
        self._count(done=1)

    def _waste(self, answer: Undrawn) -> None:
        with self._lock:
            self._wasted += 1
        if self._wasted >= WASTED:
            self._halted(
                Halt(answer.code, f"{WASTED} requests in a row gave nothing that can be read: {answer.message}")
            )

    def _halted(self, answer: Undrawn) -> None:
        with self._lock:
            self.halt = self.halt or answer
        self.bucket.stop()

    def _count(self, **changes: int) -> None:
        with self._lock:
            for name, change in changes.items():
                setattr(self.tally, name, getattr(self.tally, name) + change)
            self.tally.images, self.tally.cost = self.budget.images, self.budget.cost
            self._tell(self.tally)
