"""A stage's pictures, drawn by whoever the plan names: a paid endpoint asked with care, or a local model in batches."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from ..generators import Drawn, Generator, Refused
from .asking import Asking, Manners
from .budget import Budget
from .ledger import Ledger
from .tasks import Tally, Task, Tell, picture_of, recover
from .work_folder import WorkFolder

MARGIN = 64 * 2**20  # bytes of the disk that are left for ledgers and records


@dataclass
class Studio:
    """Where and how pictures are drawn; the same for all stages of a run.

    Attributes:
        tell: called with the tally after every outcome.
    """

    work: WorkFolder
    ledger: Ledger
    budget: Budget
    manners: Manners
    tell: Tell

    def draw(self, tasks: Sequence[Task], generator: Generator) -> Tally:
        """Draw the tasks that have no picture yet.

        Raises:
            ValueError: the disk has no room for them; the endpoint or the disk lets nobody go on.
        """
        recover(self.work, self.ledger, tasks)
        check_room(self.work, [task for task in tasks if not picture_of(self.work, self.ledger, task.key)])
        if generator.is_paid:
            return Asking(self.work, generator, self.ledger, self.budget, self.manners, self.tell).run(tasks)
        return self._draw_here(tasks, generator)

    def _draw_here(self, tasks: Sequence[Task], generator: Generator) -> Tally:
        """In batches that are always the same: a picture's last digits may depend on its neighbours."""
        tally = Tally(tasks[0].stage if tasks else "", len(tasks), images=self.budget.images, cost=self.budget.cost)
        for start in range(0, len(tasks), generator.batch_size):
            batch = tasks[start : start + generator.batch_size]
            missing = [t for t in batch if not self._is_settled(t, tally)]
            allowed = {task.key for task in missing if self.budget.reserve(0.0)}
            tally.left_out += len(missing) - len(allowed)
            if allowed:
                answers = generator.draw([task.request(self.work) for task in batch])
                for task, answer in zip(batch, answers):
                    if task.key in allowed:
                        self._keep(task, answer, generator, tally)
            tally.images = self.budget.images
            self.tell(tally)
        generator.free()
        return tally

    def _is_settled(self, task: Task, tally: Tally) -> bool:
        if picture_of(self.work, self.ledger, task.key):
            tally.done += 1
        elif self.ledger.account(task.key).status == "refused":
            tally.refused += 1
        else:
            return False
        return True

    def _keep(self, task: Task, answer: object, generator: Generator, tally: Tally) -> None:
        what = {"stage": task.stage, "index": task.index, "model": generator.model}
        if isinstance(answer, Drawn):
            digest = task.keep(self.work, answer, generator)
            self.ledger.write("done", task.key, task.candidate, 1, 0.0, picture=digest, **what)
            tally.done += 1
            self.budget.settle(0.0, 1, 0.0)
            return
        is_refused = isinstance(answer, Refused)
        status = "refused" if is_refused else "failed"
        self.ledger.write(
            status, task.key, task.candidate, code=answer.code, message=answer.message, final=is_refused, **what
        )
        setattr(tally, status, getattr(tally, status) + 1)
        self.budget.settle(0.0, 0, 0.0)


def check_room(work: WorkFolder, tasks: Sequence[Task]) -> None:
    """Raise a ValueError when the disk has no room for these pictures, before any is paid for."""
    need = sum(3 * task.size[0] * task.size[1] for task in tasks) + (MARGIN if tasks else 0)
    free = shutil.disk_usage(work.root).free
    if free < need:
        raise ValueError(
            f"the disk of `{work.root}` has {free / 2**20:.0f} MiB left, and {len(tasks)} pictures may take "
            f"{need / 2**20:.0f} MiB. Make room; nothing was sent."
        )
