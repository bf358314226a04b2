"""All edits, by the part of the project that they break."""

from . import annotation, app, core, distillation, encoding, engine, evaluation, training, words, world

EDITS = [
    *core.EDITS,
    *encoding.EDITS,
    *words.EDITS,
    *training.EDITS,
    *distillation.EDITS,
    *world.EDITS,
    *annotation.EDITS,
    *engine.EDITS,
    *app.EDITS,
    *evaluation.EDITS,
]
