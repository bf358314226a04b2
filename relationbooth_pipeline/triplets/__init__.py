"""From pictures to training data: triplets read in two layouts, checked, written."""

from .checking import read_mask, triplet_faults
from .keypoints import check_assignments, keypoint_verdict, repair_assignments
from .reading import read_triplets
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
    "keypoint_verdict",
    "read_mask",
    "read_triplets",
    "repair_assignments",
    "triplet_faults",
    "write_metadata",
]
