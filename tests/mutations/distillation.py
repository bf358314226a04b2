"""Edits of self-distillation, and of what a RelationLoRA's predicate attention is drawn onto."""

from .edit import edits_of
from .training import STEP, TESTS

DISTILLATION = f"{TESTS}/encoder/test_distillation.py"
CROPS = f"{TESTS}/encoder/test_crop_pictures.py"

EDITS = [
    *edits_of(
        "training/encoder/distillation.py",
        {
            "student and teacher are driven apart": (
                "return 1 - F.cosine_similarity", "return F.cosine_similarity",
                f"{DISTILLATION}::test_loss_is_zero_for_equal_directions_and_two_for_opposite_ones"),
            "grids may be strips": (
                "range(-(-rows // 2), min(", "range(1, min(",
                f"{DISTILLATION}::test_grids_are_never_more_than_twice_as_wide_or_high"),
            "cells column by column": (
                "y, x = torch.meshgrid(", "x, y = torch.meshgrid(",
                f"{DISTILLATION}::test_cells_tile_the_picture_row_by_row"),
            "the average is mostly the original": (
                "share: float = 0.95", "share: float = 0.05",
                f"{DISTILLATION}::test_averaging_lies_between_both_and_needs_the_same_keys"),
            "thirty crops of a picture": (
                "MAX_CROPS = 20", "MAX_CROPS = 30",
                f"{CROPS}::test_crops_are_cells_of_a_grid_and_at_most_twenty"),
        },
    ),
    *edits_of(
        "training/encoder/crop_pictures.py",
        {
            "pictures with few crops weigh more": (
                "torch.tensor(counts) * (plan.accumulation * plan.processes / total)",
                "torch.full((len(counts),), 1 / len(counts))",
                f"{TESTS}/laws/test_crop_laws.py::test_pictures_weigh_as_many_crops_as_they_have"),
            "crops are cut at another box": (
                "return image.crop((x0, y0, x1, y1))", "return image.crop((x0, y0, x1, y1 + 1))",
                f"{CROPS}::test_crops_are_the_pixels_of_their_boxes"),
        },
    ),
    *edits_of(
        "training/lora/cache.py",
        {
            "the objects' union is their intersection": (
                "view.masks.any(0)[None, None]", "view.masks.all(0)[None, None]",
                f"{STEP}::test_the_objects_of_the_predicate_loss_are_the_union_of_the_masks"),
        },
    ),
]  # fmt: skip
