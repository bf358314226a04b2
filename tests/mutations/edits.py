"""All edits, by the part of the project that they break."""

from . import annotation, core, distillation, encoding, engine, evaluation, identities, judges, poses, training, words

EDITS = [
    *core.EDITS,
    *encoding.EDITS,
    *words.EDITS,
    *training.EDITS,
    *distillation.EDITS,
    *poses.EDITS,
    *identities.EDITS,
    *annotation.EDITS,
    *engine.EDITS,
    *judges.EDITS,
    *evaluation.EDITS,
]
