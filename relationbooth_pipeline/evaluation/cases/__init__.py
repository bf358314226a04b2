"""What is asked: cases, their photos and predicates, and whether a case file is sound."""

from .case import Case
from .files import CASES, CaseFile, read_cases, write_cases
from .predicates import PREDICATE_RULES, case_predicate

__all__ = [
    "CASES",
    "PREDICATE_RULES",
    "Case",
    "CaseFile",
    "case_predicate",
    "read_cases",
    "write_cases",
]
