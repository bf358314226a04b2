"""The demo: two characters that no training stage has seen, the same seed without and with a RelationLoRA."""

from collections.abc import Callable

import torch
from PIL import Image

from .. import miniature
from ..generation.settings import MINIATURE_DEFAULTS
from ..generation.sources import quiet_libraries
from ..pipeline import RelationBoothPipeline
from ..relation_lora import WEIGHT_NAME, read_relation_metadata
from ..sheets.contact import contact_sheet

PLACE = "in a meadow"
DEFAULT_RELATION = "shaking_hands"  # the paper's case: the base can draw it, the adapter alone overlooks it


def relations() -> list[str]:
    """Names of the RelationLoRAs that come with the miniature."""
    return sorted(folder.parent.name for folder in (miniature.path() / "relation_loras").glob(f"*/{WEIGHT_NAME}"))


def references() -> dict[str, Image.Image]:
    """Phrase → picture of the demo's characters; held out of all training."""
    return {
        file.stem: Image.open(file).convert("RGB") for file in sorted((miniature.path() / "references").glob("*.png"))
    }


@torch.no_grad()
def draw_demo(
    relation: str, seed: int, weight: float = 1.0, on_step: Callable[[int, int], None] | None = None
) -> Image.Image:
    """Contact sheet: references, boxes, the adapter alone, and the adapter with the RelationLoRA.

    Args:
        relation: one of `relations()`.
        seed: of both pictures. weight: of the RelationLoRA, as in `set_adapters`.
        on_step: told (steps done, steps in all).
    Raises:
        ValueError: no such RelationLoRA.
    """
    if relation not in relations():
        raise ValueError(f"`--relation` must be one of {', '.join(relations()) or 'none'}, got {relation!r}.")
    quiet_libraries()
    folder, characters = miniature.path(), references()
    file = folder / "relation_loras" / relation / WEIGHT_NAME
    metadata = read_relation_metadata(file)
    pipe = RelationBoothPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_relation_adapter(folder / "relation_adapter")
    boxes = metadata.layout_prior
    characters = dict(list(characters.items())[: len(boxes)])  # an action needs only the first
    phrases = list(characters)
    prompt = f"{metadata.template.format(*phrases)} {PLACE}"
    encoded = pipe.encode_image_prompts(list(characters.values()), phrases)
    defaults, results = dict(MINIATURE_DEFAULTS), {}
    steps = defaults.pop("steps")
    for name in ("adapter alone", "RelationBooth"):
        done = steps * len(results)

        def after_step(_, step, timestep, tensors, done=done):
            if on_step is not None:
                on_step(done + step + 1, 2 * steps)
            return tensors

        if name == "RelationBooth":
            pipe.load_lora_weights(file, adapter_name=relation)
            pipe.set_adapters(relation, weight)
        results[name] = pipe(
            prompt,
            image_prompts=encoded,
            boxes=boxes,
            num_inference_steps=steps,
            **defaults,
            generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=after_step,
        ).images[0]
    note = "A cartoon world, drawn by the embedded miniature. Its characters were held out of all training."
    return contact_sheet(list(characters.values()), phrases, boxes, results, prompt, note)
