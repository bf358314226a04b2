"""Stage "generate": a target for each candidate of the plan."""

from collections.abc import Sequence

from ..generators import Generator
from .candidates import Candidate
from .drawing import Studio
from .plan import Plan, Planned
from .tasks import Tally, Task, picture_of
from .work_folder import WorkFolder

STAGE = "generate"


def target_task(plan: Plan, planned: Planned, generator: Generator) -> Task:
    size = plan.size or generator.default_size
    seed = plan.seed_of(planned)
    return Task.of(generator, STAGE, planned.id, None, prompt=planned.prompt, seed=seed, size=size)


def draw_targets(plan: Plan, planned: Sequence[Planned], generator: Generator, studio: Studio) -> Tally:
    """Draw what is missing; each candidate with a target gets its record.

    Raises:
        ValueError: as `Studio.draw`; records of what came are written all the same.
    """
    tasks = [target_task(plan, entry, generator) for entry in planned]
    try:
        return studio.draw(tasks, generator)
    finally:
        for entry, task in zip(planned, tasks):
            digest = picture_of(studio.work, studio.ledger, task.key)
            if digest and not studio.work.is_done(STAGE, entry.id, task.key):
                found = Candidate(entry.id, plan.relation, plan.predicate, entry.phrases, entry.prompt, digest)
                studio.work.write_record(STAGE, entry.id, {"inputs": task.key, **found.as_record()})


def drawn_candidates(work: WorkFolder, planned: Sequence[Planned]) -> list[Candidate]:
    """Those with a target, still without their objects."""
    records = [(entry.id, work.record(STAGE, entry.id)) for entry in planned]
    return [Candidate.from_record(name, record) for name, record in records if record is not None]
