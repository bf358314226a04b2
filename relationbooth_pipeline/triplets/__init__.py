"""From pictures to training data: triplets read in two layouts, checked, written."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import triplet_faults
    from .keypoints import check_assignments, keypoint_verdict, refuse_swapped, repair_assignments
    from .predicates import sentence_predicate
    from .reading import is_released_layout, read_triplets
    from .triplet import KEYPOINT_COUNT, KEYPOINT_ORDERS, METADATA, Triplet, TripletError
    from .writing import import_triplets, repair_metadata, write_metadata

__all__ = [
    "KEYPOINT_COUNT",
    "KEYPOINT_ORDERS",
    "METADATA",
    "Triplet",
    "TripletError",
    "check_assignments",
    "import_triplets",
    "is_released_layout",
    "keypoint_verdict",
    "read_triplets",
    "refuse_swapped",
    "repair_assignments",
    "repair_metadata",
    "sentence_predicate",
    "triplet_faults",
    "write_metadata",
]
# diffusers takes seconds to import, and an endpoint's pictures are kept without it: a name brings its module (PEP 562).
_MODULES = {
    "KEYPOINT_COUNT": "triplet",
    "KEYPOINT_ORDERS": "triplet",
    "METADATA": "triplet",
    "Triplet": "triplet",
    "TripletError": "triplet",
    "check_assignments": "keypoints",
    "import_triplets": "writing",
    "is_released_layout": "reading",
    "keypoint_verdict": "keypoints",
    "read_triplets": "reading",
    "refuse_swapped": "keypoints",
    "repair_assignments": "keypoints",
    "repair_metadata": "writing",
    "sentence_predicate": "predicates",
    "triplet_faults": "checking",
    "write_metadata": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
