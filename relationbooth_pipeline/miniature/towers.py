"""The miniature's towers for pictures and texts, trained on renders alone: they stand where CLIP and DINO stand.

They are neither what the pipeline reads nor what its judges are: the system under test has never seen their features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from .judges import FOLDER
from .networks import SIDE, Towers, read_network
from .pictures import pixels_of
from .words import numbered, words_of

TOWERS = "towers.safetensors"


def towers_checkpoint(folder: str | Path | None = None) -> str:
    """The file of both towers with its digest, before they load; None: the shipped ones."""
    return "miniature towers #" + hashlib.sha256((Path(folder or FOLDER) / TOWERS).read_bytes()).hexdigest()[:12]


class MiniatureTowers:
    """Both towers. Load them by `MiniatureTowers.load()`.

    Attributes:
        words: those that a text may hold. checkpoint: the file with its digest. accuracy: on fresh renders.
    """

    preprocessing = f"squashed to {SIDE}×{SIDE} bicubic"

    def __init__(self, folder: Path, device: str = "cpu"):
        weights, known = read_network(folder / TOWERS)
        self.words: tuple[str, ...] = tuple(known["words"])
        self.accuracy: dict[str, float] = known["accuracy"]
        self.model = Towers(len(self.words)).eval()
        self.model.load_state_dict(weights)
        self.model.to(device)
        self.device = device
        self.checkpoint = towers_checkpoint(folder)

    @classmethod
    def load(cls, folder: str | Path | None = None, device: str = "cpu") -> MiniatureTowers:
        """The shipped towers, or those of a folder that `python -m training.miniature.train judges` wrote.

        Raises:
            ValueError: the file is missing or damaged.
        """
        return cls(Path(folder or FOLDER), device)

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(B, 64) in the space that texts share: as CLIP's."""
        return self.model.images(pixels_of(images).to(self.device))[0].cpu()

    @torch.no_grad()
    def view_features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(B, 64) in the pictures' own space, in which a character's pictures lie together: where DINO stands."""
        return self.model.images(pixels_of(images).to(self.device))[1].cpu()

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, 64).

        Raises:
            ValueError: a word that the drawn world does not have; the known ones are named.
        """
        return self.model.texts(numbered(texts, self.words).to(self.device)).cpu()

    def check_words(self, texts: Sequence[str]) -> None:
        """Raise a ValueError for the first text that `text_features` would refuse."""
        for text in texts:
            words_of(text, self.words)
