"""From pictures to training data: triplets read in two layouts, checked, written."""

from .checking import triplet_faults
from .keypoints import check_assignments, keypoint_verdict, refuse_swapped, repair_assignments
from .predicates import sentence_predicate
from .reading import is_released_layout, read_triplets
from .triplet import KEYPOINT_COUNT, KEYPOINT_ORDERS, METADATA, Triplet, TripletError
from .writing import import_triplets, write_metadata

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
    "sentence_predicate",
    "triplet_faults",
    "write_metadata",
]
