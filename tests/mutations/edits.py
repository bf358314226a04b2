"""All edits, by the part of the project that they break."""

from . import annotation, core, distillation, encoding, training, words

EDITS = [*core.EDITS, *encoding.EDITS, *words.EDITS, *training.EDITS, *distillation.EDITS, *annotation.EDITS]
