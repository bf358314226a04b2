"""From candidates to triplets: stages find, segment, keypoints, caption, likeness, relation, filter, and the export."""

from .annotate import STAGES, annotate, keep_pictures, refusals
from .decisions import DECISIONS, Decision, read_decisions, review_notes
from .export import ExportOptions, export
from .thresholds import Thresholds

__all__ = [
    "DECISIONS",
    "STAGES",
    "Decision",
    "ExportOptions",
    "Thresholds",
    "annotate",
    "export",
    "keep_pictures",
    "read_decisions",
    "refusals",
    "review_notes",
]
