"""Small convolutional networks that look at pictures of the drawn world, and the files in which they ship."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

SIDE = 128  # pixels that every network reads: the miniature's native size
GRID = 32  # cells a side of what the dense reader says
WIDTHS = (16, 32, 48, 80, 112)  # of the five halvings from 128 to 4
READ = 48  # channels of the 4x4 grid that linear readings see
WORD_WIDTH, TEXT_WIDTH, SPACE = 48, 64, 64  # of a word, of a GRU's state each way, of the shared space


class Conv(nn.Sequential):
    """Convolution, group norm, SiLU; `stride` 2 halves the grid."""

    def __init__(self, in_channels: int, out_channels: int, size: int = 3, stride: int = 1):
        convolution = nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)
        super().__init__(convolution, nn.GroupNorm(8, out_channels), nn.SiLU())


class Trunk(nn.Module):
    """0.34 M parameters: (B, 3, 128, 128) in [-1, 1] → (B, 48 · 16), the features of a 4x4 grid."""

    features = READ * 16

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = [Conv(3, WIDTHS[0], 5, stride=2)]
        for narrow, wide in zip(WIDTHS, WIDTHS[1:]):
            layers += [Conv(narrow, wide, stride=2), Conv(wide, wide)]
        self.layers = nn.Sequential(*layers, Conv(WIDTHS[-1], READ, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layers(pixels).flatten(1)


class Judge(nn.Module):
    """A trunk with one linear reading for each question.

    Args:
        questions: {name: number of answers}.
    """

    def __init__(self, questions: dict[str, int]):
        super().__init__()
        self.trunk = Trunk()
        self.readings = nn.ModuleDict({name: nn.Linear(Trunk.features, count) for name, count in questions.items()})

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """{question: (B, answers)} of (B, 3, 128, 128) in [-1, 1], on the device where the judge is."""
        features = self.trunk(pixels)
        return {name: reading(features) for name, reading in self.readings.items()}


class Towers(nn.Module):
    """A tower for pictures and one for texts, with one space for both, and a second one for pictures alone.

    Args:
        words: number of words that a text may hold; number 0 is the end of a text.
    """

    def __init__(self, words: int):
        super().__init__()
        self.trunk = Trunk()
        self.to_shared = nn.Linear(Trunk.features, SPACE)
        self.to_views = nn.Linear(Trunk.features, SPACE)
        self.token_embedding = nn.Embedding(words + 1, WORD_WIDTH, padding_idx=0)
        self.reader = nn.GRU(WORD_WIDTH, TEXT_WIDTH, batch_first=True, bidirectional=True)
        self.text_to_shared = nn.Linear(4 * TEXT_WIDTH, SPACE)

    def images(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, 128, 128) → (B, 64) in the space that texts share, (B, 64) in the pictures' own."""
        features = self.trunk(pixels)
        return self.to_shared(features), self.to_views(features)

    def texts(self, numbers: torch.Tensor) -> torch.Tensor:
        """(B, T) word numbers, 0 after the end → (B, 64)."""
        lengths, rows, found = (numbers > 0).sum(1), [], []
        for length in lengths.unique().tolist():  # one length at a time: no padding enters the reading from the end
            rows.append((lengths == length).nonzero().flatten())
            states, _ = self.reader(self.token_embedding(numbers[rows[-1], :length]))
            found.append(torch.cat([states.mean(1), states.amax(1)], -1))
        order = torch.cat(rows).argsort()
        return self.text_to_shared(torch.cat(found)[order])


class DenseReader(nn.Module):
    """A U-Net of 0.4 M parameters that says of each place of a 32x32 grid who is there.

    Args:
        channels: {name: number of channels} of what it says.
    """

    def __init__(self, channels: dict[str, int]):
        super().__init__()
        self.names, self.sizes = list(channels), list(channels.values())
        self.at_half = Conv(3, 16, 5, stride=2)
        self.quarter = nn.Sequential(Conv(16, 48, stride=2), Conv(48, 48))
        self.eighth = nn.Sequential(Conv(48, 64, stride=2), Conv(64, 64))
        self.deepest = nn.Sequential(Conv(64, 96, stride=2), Conv(96, 96), Conv(96, 96))
        self.to_eighth, self.at_eighth = Conv(96, 64, 1), Conv(64, 64)
        self.to_quarter, self.at_quarter = Conv(64, 48, 1), Conv(48, 48)
        self.reading = nn.Conv2d(48, sum(self.sizes), 1)

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """{name: (B, channels, 32, 32)} of (B, 3, 128, 128) in [-1, 1]."""
        quarter = self.quarter(self.at_half(pixels))
        eighth = self.eighth(quarter)
        up = nn.functional.interpolate
        eighth = self.at_eighth(eighth + up(self.to_eighth(self.deepest(eighth)), scale_factor=2.0))
        quarter = self.at_quarter(quarter + up(self.to_quarter(eighth), scale_factor=2.0))
        return dict(zip(self.names, self.reading(quarter).split(self.sizes, 1)))


def read_network(file: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Weights in float32, and the vocabulary that stands in the file's own header.

    Raises:
        ValueError: the file is missing, damaged, or has no vocabulary.
    """
    if not file.is_file():
        raise ValueError(
            f"the miniature's judges are missing: `{file}`. Install the package with its data, or train them: "
            "`python -m training.miniature.train judges --output_dir DIR`."
        )
    try:
        with safe_open(file, "pt") as opened:
            vocabulary = json.loads((opened.metadata() or {})["vocabulary"])
            return {name: opened.get_tensor(name).float() for name in opened.keys()}, vocabulary
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"`{file}` is no file of the miniature's judges ({type(error).__name__}: {error}).") from error
