"""Paired intervals over cases, and the tables made of them; the laboratory uses the same."""

from .bootstrap import Interval, auc, case_means, mean_interval, paired_difference
from .published import PUBLISHED
from .tables import HALVES, Table, build_table, check_against, compared_runs, halves, markdown

__all__ = [
    "HALVES", "PUBLISHED", "Interval", "Table", "auc", "build_table", "case_means", "check_against", "compared_runs",
    "halves", "markdown", "mean_interval", "paired_difference",
]  # fmt: skip
