"""What the page's controls say, as a request to the studio; and settings of a picture, as values of the controls."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .faults import Fault
from .places import entry
from .studio import MAX_LORAS, MAX_OBJECTS, MOST_PICTURES, Offer

if TYPE_CHECKING:
    from ..generation.settings import GenerationSettings

NO_LORA = "none"
NUMBERS = ("width", "height", "steps", "guidance_scale", "guidance_rescale", "image_prompt_scale")  # None: the default


@dataclass
class Form:
    """Values of all controls; lists have one entry per slot, `None` or "" where nothing is set."""

    photos: list[str | None]
    phrases: list[str]
    strengths: list[float]
    places: list[dict]
    prompt: str = ""
    loras: list[str] = field(default_factory=lambda: [NO_LORA] * MAX_LORAS)
    weights: list[float] = field(default_factory=lambda: [1.0] * MAX_LORAS)
    negative_prompt: str = ""
    seed: int | None = 0
    random_seed: bool = False
    number: int = 1
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    image_prompt_scale: float | None = None
    local_tokens: bool = True

    def present(self) -> list[int]:
        """Slots that hold a photo."""
        return [i for i, photo in enumerate(self.photos) if photo]

    def request(self) -> tuple[dict, list[str]]:
        """(request for `Studio.settings`, paths of the photos).

        Raises:
            Fault: something is missing.
        """
        slots = self.present()
        images = [self.photos[i] for i in slots]
        for i, phrase in enumerate(self.phrases):
            if i in slots and not phrase.strip():
                raise Fault("objects", f"Object {i + 1} needs a phrase, its noun in the sentence: cat.")
            if i not in slots and phrase.strip():
                raise Fault(
                    "objects", f"Object {i + 1} ({phrase.strip()}) needs a photo. Add one, or remove the object."
                )
        if not self.prompt.strip():
            raise Fault("sentence", "Write a sentence first: what do the objects do, and where?")
        if self.number is None or not 1 <= self.number <= MOST_PICTURES:
            raise Fault("more", f"The number of pictures must be from 1 to {MOST_PICTURES}, got {self.number}.")
        request = {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt.strip() or None,
            "seed": None if self.random_seed or self.seed is None else int(self.seed),
            "lora": [[name, w] for name, w in zip(self.loras, self.weights) if name and name != NO_LORA],
            "local_tokens": bool(self.local_tokens),
        }
        for name in ("width", "height", "steps"):
            request[name] = None if getattr(self, name) is None else int(getattr(self, name))
        for name in ("guidance_scale", "guidance_rescale"):
            request[name] = getattr(self, name)
        if not images:
            return request, []
        request["phrase"] = [self.phrases[i].strip() for i in slots]
        strengths = [self.strengths[i] for i in slots]
        request["image_prompt_scale"] = self.image_prompt_scale
        if self.image_prompt_scale is not None and any(strength != 1 for strength in strengths):
            request["image_prompt_scale"] = [round(self.image_prompt_scale * strength, 4) for strength in strengths]
        return {**request, **self._places(slots)}, images

    def _places(self, slots: list[int]) -> dict:
        boxes = [self.places[i]["box"] for i in slots]
        masks = [self.places[i]["mask"] for i in slots]
        placed = [bool(box or mask) for box, mask in zip(boxes, masks)]
        if not any(placed):
            return {"automatic_layout": True}
        if not all(placed):
            name = self.phrases[slots[placed.index(False)]].strip()
            raise Fault("places", f"Draw a box for the {name}, or let all places be found with Automatic.")
        return {"box": [box or [0.0, 0.0, 1.0, 1.0] for box in boxes], "mask": masks if any(masks) else None}


def synced(places: list[dict], photos: list, phrases: list[str]) -> list[dict]:
    """Entries of the canvas for these slots; boxes and masks stay."""
    places = [*places, *(entry() for _ in range(MAX_OBJECTS - len(places)))]
    return [
        entry(phrase.strip(), bool(photo), place["box"] if photo else None, place["mask"] if photo else None)
        for place, photo, phrase in zip(places, photos, phrases)
    ]


def arranged(places: list[dict], boxes: list | None) -> list[dict]:
    """The canvas with these boxes on its present objects; None takes all places away."""
    boxes = iter(boxes or [])
    return [{**place, "box": next(boxes, None) if place["present"] else None, "mask": None} for place in places]


def form_of(
    settings: "GenerationSettings", images: list[str | None], offers: Mapping[str, Offer], defaults: dict
) -> tuple[Form, list[str]]:
    """(values that draw a picture of these settings, what could not be set).

    Args:
        settings: of a written picture. images: its references as found here, None where one is not.
        offers, defaults: of the studio.
    """
    from ..generation.masks import DATA_URL  # late: it brings torch, and the page opens before

    rest = MAX_OBJECTS - len(images)
    gamma, scale = defaults["image_prompt_scale"], settings.image_prompt_scale
    strengths = [1.0] * len(images)
    if isinstance(scale, list):
        strengths = [round(value / gamma, 4) for value in scale]
    elif scale is not None:
        gamma = scale
    boxes = settings.box or [None] * len(images)
    masks = settings.mask or [None] * len(images)
    painted = [mask if isinstance(mask, str) and mask.startswith(DATA_URL) else None for mask in masks]
    present = [image is not None for image in images]
    places = [entry(*values) for values in zip(settings.phrase, present, boxes, painted)]
    lost = [
        f"the photo of the {phrase} (add it again: {reference_name(reference)})"
        for phrase, image, reference in zip(settings.phrase, images, settings.image)
        if image is None
    ]
    lost += [
        f"the mask of the {phrase} (paint it again: {reference_name(mask)})"
        for phrase, mask, kept in zip(settings.phrase, masks, painted)
        if mask and not kept
    ]
    loras, weights = [], []
    for name, weight in settings.lora:
        if name in offers and len(loras) < MAX_LORAS:
            loras, weights = [*loras, name], [*weights, offers[name].weight if weight is None else weight]
        else:
            lost.append(f"the LoRA {name} (start the page with it)")
    rest_loras = MAX_LORAS - len(loras)
    form = Form(
        photos=[*images, *[None] * rest],
        phrases=[*settings.phrase, *[""] * rest],
        strengths=[*strengths, *[1.0] * rest],
        places=[*places, *[entry() for _ in range(rest)]],
        prompt=settings.prompt,
        loras=[*loras, *[NO_LORA] * rest_loras],
        weights=[*weights, *[1.0] * rest_loras],
        negative_prompt=settings.negative_prompt or "",
        seed=settings.seed,
        image_prompt_scale=gamma,
        local_tokens=settings.local_tokens,
    )
    for name in ("width", "height", "steps", "guidance_scale", "guidance_rescale"):
        value = getattr(settings, name)
        setattr(form, name, defaults[name] if value is None else value)
    return form, lost


def reference_name(reference: str | dict) -> str:
    """File name of a reference as a written picture tells it."""
    return reference["name"] if isinstance(reference, dict) else re.split(r"[/\\]", reference)[-1]
