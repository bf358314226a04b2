"""Stage "same": each object of a target alone, in another pose and scene, drawn from its crop."""

from collections.abc import Sequence
from dataclasses import replace

from ..generators import Generator
from . import crops
from .candidates import Candidate
from .drawing import Studio
from .plan import Plan, Planned
from .tasks import Tally, Task, picture_of
from .work_folder import inputs_digest

STAGE = "same"


def object_task(
    plan: Plan, planned: Planned, candidate: Candidate, index: int, crop: str, generator: Generator
) -> Task:
    return Task.of(
        generator,
        STAGE,
        planned.id,
        index,
        prompt=plan.same_prompt(planned, index, generator.same_templates),
        seed=plan.seed_of(planned, index),
        size=plan.size or generator.default_size,
        parents=(crop,),
        phrases=(candidate.phrases[index],),
    )


def draw_objects(
    plan: Plan, planned: Sequence[Planned], candidates: Sequence[Candidate], generator: Generator, studio: Studio
) -> Tally:
    """Draw what is missing, for candidates whose objects were all found in the target; one with all of them gets its
    record, and is one for the stages that follow.

    Raises:
        ValueError: as `Studio.draw`; records of what is complete are written all the same.
    """
    work, by_id = studio.work, {entry.id: entry for entry in planned}
    tasks: dict[str, list[Task]] = {}
    for candidate in candidates:
        record = work.record(crops.STAGE, candidate.id)
        if record is None or None in record["objects"]:
            continue  # an object that nobody finds in the target would be paid for in vain
        entry = by_id[candidate.id]
        tasks[candidate.id] = [
            object_task(plan, entry, candidate, i, crop, generator) for i, crop in enumerate(record["objects"])
        ]
    try:
        return studio.draw([task for group in tasks.values() for task in group], generator)
    finally:
        for candidate in candidates:
            group = tasks.get(candidate.id, [])
            digests = [picture_of(work, studio.ledger, task.key) for task in group]
            inputs = inputs_digest(candidate.target, [task.key for task in group])
            if group and None not in digests and not work.is_done(STAGE, candidate.id, inputs):
                whole = replace(candidate, objects=tuple(digests))
                work.write_record(STAGE, candidate.id, {"inputs": inputs, **whole.as_record()})
