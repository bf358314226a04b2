"""The miniature's annotator: where a phrase's object is in a picture, its mask and its keypoints.

One U-Net says of every place who stands there and where that one's centre and keypoints are. Places whose centres agree
are one character; a phrase is a claim about its attributes, so two characters that differ in any word are never
exchanged, whatever combination of words training has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .judges import FOLDER, MiniatureJudges
from .networks import GRID, SIDE, DenseReader, read_network
from .pictures import pixels_of
from .words import words_of

ANNOTATOR = "annotator.safetensors"
Box = tuple[float, float, float, float]
LEAST_SCORE = 0.5  # of an object that counts as found
NEAR, APART = 0.06, 0.14  # shares of the side: centres that are one; characters closer than this are not told apart
LEAST_CELLS = 12  # of 1024 that agree: fewer are a hand that was taken for somebody
VOTES = 2.0  # as how many independent ones a character's places count that say who it is
SOFTNESS = 0.02  # of whose a place between two is
LOG_SPREAD = (-6.0, 1.0)


@dataclass(frozen=True)
class Someone:
    """One character in a picture.

    Attributes:
        filled: (32, 32), how much of each cell is this one's. values: {attribute: (values,) probabilities}.
        keypoints: (17, 3) x, y in [0, 1] and P(visible).
    """

    filled: torch.Tensor
    values: dict[str, torch.Tensor]
    keypoints: torch.Tensor


class MiniatureAnnotator:
    """Load it by `MiniatureAnnotator.load()`.

    Attributes:
        words: those that a phrase may hold, each with (attribute, value), or None where it says nothing of who it is.
        keypoint_order: name of the keypoints' order. accuracy: on fresh renders of held-out characters.
    """

    keypoint_order = "AP-10K"

    def __init__(self, folder: Path, device: str = "cpu"):
        weights, known = read_network(folder / ANNOTATOR)
        self.words: dict[str, tuple[str, str] | None] = {w: v and tuple(v) for w, v in known["words"].items()}
        self.attributes: dict[str, list[str]] = known["attributes"]
        self.accuracy: dict[str, float] = known["accuracy"]
        self.reader = DenseReader(known["channels"]).eval()
        self.reader.load_state_dict(weights)
        self.reader.to(device)
        self.device, self.judges = device, MiniatureJudges.load(folder, device)

    @classmethod
    def load(cls, folder: str | Path | None = None, device: str = "cpu") -> MiniatureAnnotator:
        """The shipped annotator, or that of a folder that `python -m training.miniature.train judges` wrote.

        Raises:
            ValueError: the files are missing or damaged.
        """
        return cls(Path(folder or FOLDER), device)

    def find(self, image: Image.Image, phrase: str) -> list[tuple[Box, float]]:
        """Every character that the phrase may mean, surest first: (box XYXY in [0, 1], probability of all its words).

        Raises:
            ValueError: a word that the world does not have; the known ones are named.
        """
        wanted, found = self._wanted(phrase), []
        for someone in self.people(image):
            score = _score(someone, wanted, self.attributes)
            box = _box(_enlarged(someone.filled, SIDE, SIDE) > 0.5)
            if score >= LEAST_SCORE and box is not None:
                found.append((box, score))
        return sorted(found, key=lambda entry: -entry[1])

    def segment(self, image: Image.Image, box: Box, phrase: str) -> np.ndarray:
        """(H, W) bool: what is seen of the phrase's object in the box; nothing true where it is not there.

        Raises:
            ValueError: as `find`.
        """
        someone = self._meant(image, box, phrase)
        if someone is None:
            return np.zeros((image.height, image.width), bool)
        return (_enlarged(someone.filled, image.height, image.width) > 0.5).numpy()

    def keypoints(self, image: Image.Image, box: Box, phrase: str) -> np.ndarray:
        """(17, 3): x, y in [0, 1] of the picture and P(visible), in AP-10K's order; all 0 where it is not there.

        Raises:
            ValueError: as `find`.
        """
        someone = self._meant(image, box, phrase)
        return np.zeros((17, 3), np.float32) if someone is None else someone.keypoints.numpy()

    def relation(self, image: Image.Image, predicate: str) -> float:
        """P(Yes) of "does this picture show, whole, what the predicate says?"; by the judge of pictures.

        Raises:
            ValueError: a predicate that is none of the world's; the known ones are named.
        """
        return self.judges.relation([image], predicate).item()

    @torch.no_grad()
    def people(self, image: Image.Image) -> list[Someone]:
        """Everybody in the picture, whoever it is."""
        said = {n: maps[0].cpu() for n, maps in self.reader(pixels_of([image]).to(self.device)).items()}
        steps = (torch.arange(GRID) + 0.5) / GRID
        cells = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))  # x, y of each cell's middle
        filled, votes = said["character"][0].sigmoid(), cells + said["centre"]
        centres = _centres(votes[:, filled > 0.5].T)
        if not len(centres):
            return []
        distances = (votes[:, None] - centres.T[:, :, None, None]).norm(dim=0)  # (people, 32, 32)
        shares = (-distances / SOFTNESS).softmax(0) * filled
        return [self._someone(share, said, cells) for share in shares]

    def _someone(self, filled: torch.Tensor, said: dict[str, torch.Tensor], cells: torch.Tensor) -> Someone:
        weight = filled * (filled > 0.5)
        weight = weight / weight.sum().clamp(min=1e-6)
        means = {n: (said[n].log_softmax(0) * weight).sum((1, 2)) for n in self.attributes}
        values = {n: (VOTES * mean).softmax(0) for n, mean in means.items()}
        places = cells + said["keypoints"].unflatten(0, (-1, 2))  # (17, 2, 32, 32)
        sure = weight * (-2 * said["spread"].clamp(*LOG_SPREAD)).exp()  # inverse variance
        sure = sure / sure.sum((1, 2), keepdim=True).clamp(min=1e-12)
        points = (places * sure[:, None]).sum((2, 3)).clamp(0, 1)
        visible = (said["visible"].sigmoid() * sure).sum((1, 2)).clamp(0, 1)
        return Someone(filled, values, torch.cat([points, visible[:, None]], 1))

    def _wanted(self, phrase: str) -> dict[str, str]:
        """{attribute: value} that a phrase mentions."""
        return dict(said for word in words_of(phrase, self.words, "phrase") if (said := self.words[word]))

    def _meant(self, image: Image.Image, box: Box, phrase: str) -> Someone | None:
        """Whom the phrase means among those who are in the box."""
        wanted, best, most = self._wanted(phrase), None, 0.0
        for someone in self.people(image):
            place = _box(_enlarged(someone.filled, SIDE, SIDE) > 0.5)
            fit = 0.0 if place is None else overlap(place, box) * _score(someone, wanted, self.attributes)
            if fit > most:
                best, most = someone, fit
        return best


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two XYXY boxes."""
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / max(areas - width * height, 1e-9)


def _score(someone: Someone, wanted: dict[str, str], attributes: dict[str, list[str]]) -> float:
    """Probability that every mentioned attribute is this one's."""
    found = [someone.values[name][attributes[name].index(value)].item() for name, value in wanted.items()]
    return float(np.prod(found)) if found else 1.0


def _centres(votes: torch.Tensor) -> torch.Tensor:
    """(people, 2): places on which many of (M, 2) votes agree, far enough apart."""
    found: list[torch.Tensor] = []
    left = votes
    while len(left) >= LEAST_CELLS:
        near = torch.cdist(left, left) < NEAR
        most = near.sum(1).argmax()
        centre = left[near[most]].mean(0)
        if near[most].sum() >= LEAST_CELLS and all((centre - other).norm() > APART for other in found):
            found.append(centre)
        left = left[(left - centre).norm(dim=1) > APART]
    return torch.stack(found) if found else votes.new_zeros(0, 2)


def _enlarged(cells: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(32, 32) → (height, width), between its neighbours: no place is more than half of two characters."""
    return F.interpolate(cells[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]


def _box(mask: torch.Tensor) -> Box | None:
    """XYXY in [0, 1] around the true places of (H, W)."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return None
    height, width = mask.shape
    edges = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    return tuple(float(edge) for edge in edges)
