"""Self-distillation of dense CLIP features (CLIPSelf; RelationBooth, appendix A.1): loss, grids, and averaging.

Shape letters: M crops, D feature width.
"""

import torch
import torch.nn.functional as F

MAX_SPLIT = 6  # most rows and columns of a grid: the released command line's default
MAX_CROPS = 20  # of one picture, as released


def crop_distillation_loss(student_features: torch.Tensor, teacher_features: torch.Tensor) -> torch.Tensor:
    """1 − mean over crops of cos(student's features pooled over the crop's box, teacher's embedding of the crop)

    (CLIPSelf; golden case `clipself`)

    Args:
        student_features, teacher_features: (M, D); neither needs to have unit length.
    Returns:
        Scalar in [0, 2].
    """
    return 1 - F.cosine_similarity(student_features.float(), teacher_features.float(), dim=-1).mean()


def grid_choices(max_split: int = MAX_SPLIT) -> list[tuple[int, int]]:
    """(rows, columns) that a picture may be cut in: neither more than twice the other, (1, 1) included."""
    return [
        (rows, columns)
        for rows in range(1, max_split + 1)
        for columns in range(-(-rows // 2), min(2 * rows, max_split) + 1)
    ]


def grid_cells(rows: int, columns: int) -> torch.Tensor:
    """Boxes of equal cells of a picture, XYXY in [0, 1], (rows·columns, 4), row by row."""
    y, x = torch.meshgrid(torch.arange(rows) / rows, torch.arange(columns) / columns, indexing="ij")
    return torch.stack([x, y, x + 1 / columns, y + 1 / rows], dim=-1).reshape(-1, 4)


def average_weights(
    student: dict[str, torch.Tensor], original: dict[str, torch.Tensor], share: float = 0.95
) -> dict[str, torch.Tensor]:
    """share · student + (1 − share) · original for every tensor of two state dicts with the same keys."""
    if student.keys() != original.keys():
        raise ValueError(
            "both state dicts must have the same keys: average a model with the one it was distilled from."
        )
    return {key: share * value + (1 - share) * original[key] for key, value in student.items()}
