"""The attributes of a character as classes: targets, linear heads that read them from features, losses, accuracies."""

import torch
import torch.nn.functional as F
from torch import nn

from ..world.identities import ACCESSORIES, COLORS, GLYPHS, MARKINGS, PUPILS, SPECIES

WIDTH = 128  # of the three encoders
ATTRIBUTES = {"species": SPECIES, "color": tuple(COLORS), "marking": MARKINGS, "accessory": ACCESSORIES}
FINE_ATTRIBUTES = {"glyph": GLYPHS, "pupils": PUPILS}
VISUAL_ATTRIBUTES = {**ATTRIBUTES, **FINE_ATTRIBUTES}  # phrases of encoders and judges never mention the fine ones
IGNORED = -100  # cross_entropy's own default for targets that do not count


class AttributeHeads(nn.Module):
    """Linear readings of every attribute from the three encoders; needed in training only.

    Sources: "image", a summary of the penultimate states, which adapters read; "embeds", the image embedding, which
    distillation compares; "text" and "text_2", the pooled texts.
    """

    def __init__(self):
        super().__init__()
        sources = {
            "image": (2 * WIDTH, VISUAL_ATTRIBUTES),
            "embeds": (WIDTH, VISUAL_ATTRIBUTES),
            "text": (WIDTH, ATTRIBUTES),
            "text_2": (WIDTH, ATTRIBUTES),
        }
        self.readings = nn.ModuleDict(
            {
                source: nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in attributes.items()})
                for source, (width, attributes) in sources.items()
            }
        )
        self.rgb = nn.Linear(2 * WIDTH, 3)
        self.text_projection = nn.Linear(WIDTH, WIDTH)
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # exp = 10; CLIP starts at 14

    def forward(self, source, states):
        return {name: reading(states) for name, reading in self.readings[source].items()}


def attribute_targets(characters, mentioned=None, device=None, attributes=ATTRIBUTES):
    """{attribute: (B,) class numbers}; unknown values and what `mentioned` (a list of sets) leaves out are ignored."""
    targets = {}
    for name, values in attributes.items():
        numbers = []
        for index, character in enumerate(characters):
            value = getattr(character, name)
            counts = value is not None and (mentioned is None or name in mentioned[index])
            numbers.append(values.index(value) if counts else IGNORED)
        targets[name] = torch.tensor(numbers, device=device)
    return targets


def attribute_loss(predictions, targets):
    """Mean over the attributes of the cross-entropy of those that count; attributes of which none counts are left out.

    0 when none counts at all. Nothing of it asks a GPU for a value.
    """
    total, attributes = 0.0, 0.0
    for name, target in targets.items():
        counted = (target != IGNORED).sum()
        of_all = F.cross_entropy(predictions[name].float(), target, reduction="sum")
        total, attributes = total + of_all / counted.clamp(min=1), attributes + counted.gt(0).float()
    return total / attributes.clamp(min=1)


def accuracy(predictions, targets):
    """{attribute: share of right readings among those that count}; attributes of which none counts are left out."""
    result = {}
    for name, target in targets.items():
        counts = target != IGNORED
        if counts.any():
            result[name] = (predictions[name].argmax(-1)[counts] == target[counts]).float().mean().item()
    return result


def summary(penultimate):
    """Mean and maximum over the patches of (B, T, D) states without the class token: (B, 2D)."""
    return torch.cat([penultimate[:, 1:].mean(1), penultimate[:, 1:].amax(1)], -1)
