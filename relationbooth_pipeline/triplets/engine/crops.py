"""Stage "crop": each object of a target, cut out by its mask, for an editing model to draw the same object again."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from .candidates import Candidate
from .work_folder import WorkFolder, inputs_digest

STAGE = "crop"
MARGIN = 0.05  # of the longer side, around the object
LEAST_SIDE = 64  # pixels of a cut-out: editing pipelines refuse smaller ones (Flux 2)


class MaskFinder(Protocol):
    """Finds the objects of targets: the stages find and segment, run on candidates that have no objects yet.

    Attributes:
        checkpoint: which weights; known before any load.
    """

    checkpoint: str

    def __call__(self, candidates: Sequence[Candidate]) -> dict[str, list[str | None]]:
        """Digest of each phrase's mask in the target by candidate id; None for an object that is not found."""
        ...


def crop_objects(work: WorkFolder, candidates: Sequence[Candidate], find_masks: MaskFinder) -> int:
    """Cut out the objects of every candidate that has no crops yet; how many candidates have all of them."""
    inputs = {c.id: inputs_digest(c.target, c.phrases, find_masks.checkpoint, MARGIN, LEAST_SIDE) for c in candidates}
    waiting = [candidate for candidate in candidates if not work.is_done(STAGE, candidate.id, inputs[candidate.id])]
    masks = find_masks(waiting) if waiting else {}
    for candidate in waiting:
        digests = [crop_of(work, candidate, i, mask) for i, mask in enumerate(masks[candidate.id])]
        work.write_record(STAGE, candidate.id, {"inputs": inputs[candidate.id], "objects": digests})
    return sum(None not in work.record(STAGE, candidate.id)["objects"] for candidate in candidates)


def crop_of(work: WorkFolder, candidate: Candidate, index: int, mask: str | None) -> str | None:
    """Digest of object `index`, cut out of the candidate's target; None without a mask."""
    crop = None if mask is None else cut_out(work.picture(candidate.target), work.mask(mask))
    if crop is None:
        return None
    provenance = {"model": None, "prompt": candidate.phrases[index], "seed": None, "request_id": None, "source": None}
    return work.keep_picture(crop, provenance | {"parents": [candidate.target, mask]})


def cut_out(picture: Image.Image, mask: np.ndarray) -> Image.Image | None:
    """What a mask covers, on a white square with a margin, of `LEAST_SIDE` at least; None for an empty mask.

    Args:
        picture: RGB. mask: bool (H, W).
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    pixels = np.where(mask[..., None], np.asarray(picture), 255).astype(np.uint8)[top:bottom, left:right]
    longer = max(pixels.shape[:2])
    side = longer + 2 * max(1, round(MARGIN * longer))
    square = Image.new("RGB", (side, side), "white")
    square.paste(Image.fromarray(pixels), ((side - pixels.shape[1]) // 2, (side - pixels.shape[0]) // 2))
    return square if side >= LEAST_SIDE else square.resize((LEAST_SIDE, LEAST_SIDE), Image.Resampling.BICUBIC)
