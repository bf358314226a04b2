"""All edits, by the part of the project that they break."""

from . import core, encoding

EDITS = [*core.EDITS, *encoding.EDITS]
