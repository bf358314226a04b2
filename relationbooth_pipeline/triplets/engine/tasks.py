"""Pictures that a stage wants, and how each is found again: by the digest of everything that decides it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..generators import Drawn, Generator, Request
from .ledger import Ledger
from .work_folder import WorkFolder, inputs_digest


@dataclass(frozen=True)
class Task:
    """One picture that is wanted.

    Attributes:
        key: digest of the generator's settings and all fields below; the same request has the same key in every run.
        stage, candidate, index: whose it is; index of the object, None for a target.
        parents: digests of the pictures that go with the sentence. phrases: noun of each.
    """

    key: str
    stage: str
    candidate: str
    index: int | None
    prompt: str
    seed: int
    size: tuple[int, int]
    parents: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    @classmethod
    def of(cls, generator: Generator, stage: str, candidate: str, index: int | None, **fields: Any) -> "Task":
        return cls(
            inputs_digest(generator.settings(), stage, candidate, index, fields), stage, candidate, index, **fields
        )

    def request(self, work: WorkFolder) -> Request:
        images = tuple(work.picture(digest) for digest in self.parents)
        return Request(self.prompt, self.seed, self.size, images, self.phrases, self.key)

    def keep(self, work: WorkFolder, drawn: Drawn, generator: Generator) -> str:
        """Write the picture with where it comes from; its digest."""
        return work.keep_picture(
            drawn.image,
            {
                "model": generator.model,
                "prompt": self.prompt,
                "seed": None if generator.is_paid else self.seed,
                "parents": list(self.parents),
                "request_id": drawn.request_id,
                "source": None,
                "request": self.key,
            },
        )


@dataclass
class Tally:
    """How far a stage is; told after every outcome.

    Attributes:
        stage: its name. total: pictures that it wants. done: those that are there. refused, failed: those that ended
            otherwise in this run or for good. left_out: not sent, because the caps do not allow it.
        again: sent again in this run, because an earlier process sent them and kept no answer.
        images, cost: counted in all, with everything before this run.
    """

    stage: str
    total: int
    done: int = 0
    refused: int = 0
    failed: int = 0
    left_out: int = 0
    again: int = 0
    images: int = 0
    cost: float = 0.0

    def words(self) -> str:
        """One line for people."""
        parts = [f"{self.done} of {self.total}"]
        for name in ("refused", "failed"):
            if count := getattr(self, name):
                parts.append(f"{count} {name}")
        if self.left_out:
            parts.append(f"{self.left_out} left out by the caps")
        if self.again:
            parts.append(f"{self.again} sent again, since no answer to them was kept")
        counted = f"{self.images} pictures counted"
        return f"{self.stage}: {', '.join(parts)}; {counted}" + (f", {self.cost:.2f} spent" if self.cost else "")


Tell = Callable[[Tally], None]


def recover(work: WorkFolder, ledger: Ledger, tasks: Sequence[Task]) -> None:
    """Write down pictures that were kept by a process that died before it could say so."""
    open_tasks = {task.key: task for task in tasks if ledger.account(task.key).open_images}
    if not open_tasks:
        return
    for file in (work.root / "pictures").glob("*.png"):
        if not file.with_suffix(".json").is_file():
            continue  # a mask
        task = open_tasks.get(work.provenance(file.stem).get("request"))
        if task is not None:
            account = ledger.account(task.key)
            ledger.write(
                "done",
                task.key,
                task.candidate,
                account.open_images,
                account.open_cost,
                picture=file.stem,
                recovered=True,
            )


def picture_of(work: WorkFolder, ledger: Ledger, key: str) -> str | None:
    """Digest of a request's picture, when it is there."""
    account = ledger.account(key)
    return account.picture if account.picture and work.picture_path(account.picture).is_file() else None
