"""What a RelationLoRA run leaves behind: the weights with their header, and validation pictures."""

import json
import re
import struct
import tempfile
from collections import Counter
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft.utils import get_peft_model_state_dict
from PIL import Image

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.exchange.kohya import kohya_name, write_kohya
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME, whole_file
from relationbooth_pipeline.relation_layouts import phrase_places
from relationbooth_pipeline.relation_regions import RelationMetadata, write_relation_metadata
from relationbooth_pipeline.triplets import Triplet

from ..common.options import ValidationOptions
from ..common.run_pictures import draw_pictures, validation_prompts


def relation_metadata(triplets: list[Triplet], relation: str | None, template: str | None) -> RelationMetadata:
    """The header: relation, predicate and template from the triplets unless given, and their mean layout."""
    predicate = _most_common([t.predicate for t in triplets])
    return RelationMetadata(
        relation=relation or predicate,
        predicate=predicate,
        template=template or _most_common([prompt_template(t.prompt, t.phrases) for t in triplets]),
        layout_prior=layout_prior(triplets),
    )


def layout_prior(triplets: list[Triplet]) -> list[list[float]]:
    """Mean box of each role, XYXY in [0, 1], over the triplets with the usual number of objects in the usual order.

    The order is that of the boxes' centres from left to right: the mean over both sides would put all objects in the
    middle.
    """

    def order(triplet):  # as long as its number of objects
        return tuple((triplet.boxes[:, 0] + triplet.boxes[:, 2]).argsort(stable=True).tolist())

    usual = _most_common([order(t) for t in triplets])
    boxes = torch.stack([t.boxes for t in triplets if order(t) == usual]).mean(0)
    return [[round(value, 4) for value in box] for box in boxes.tolist()]


def prompt_template(prompt: str, phrases: list[str]) -> str:
    """The prompt with {0}, {1}, … in the phrases' places, by the rule of `phrase_places`.

    "an" before a place becomes "a": it belonged to the word that stood there.
    """
    places = [(place, index) for index, place in enumerate(phrase_places(phrases, prompt)) if place is not None]
    for (start, end), index in sorted(places, reverse=True):  # from the right, so that places stay true
        prompt = f"{prompt[:start]}{{{index}}}{prompt[end:]}"
    return re.sub(r"\b([Aa])n (?=\{\d)", r"\1 ", prompt)


def save_relation_lora(
    unet: UNet2DConditionModel, folder: str | Path, metadata: RelationMetadata | None = None
) -> Path:
    """`pytorch_lora_weights.safetensors` with PEFT metadata (alpha) and our header, and its kohya-keyed twin; whole.

    Equal weights make equal bytes.

    Args:
        unet: unwrapped, with the LoRA as its adapter "default".
        metadata: None leaves our header out, as in checkpoints.
    """
    folder = Path(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lora-") as temporary:
        StableDiffusionXLPipeline.save_lora_weights(
            temporary,
            unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet)),
            # Sets come in an order of their own in every process.
            unet_lora_adapter_metadata={
                name: sorted(value) if isinstance(value, set) else value
                for name, value in unet.peft_config["default"].to_dict().items()
            },
        )
        file = Path(temporary) / LORA_WEIGHT_NAME
        if metadata is not None:
            write_relation_metadata(file, metadata)
        with whole_file(folder / LORA_WEIGHT_NAME) as fresh:
            fresh.write_bytes(with_sorted_metadata(file.read_bytes()))
        if metadata is not None:  # of a finished run, not of a checkpoint: people take it to ComfyUI, A1111 or Forge
            twin = Path(temporary) / kohya_name(file)
            write_kohya(file, twin)
            with whole_file(folder / twin.name) as fresh:
                fresh.write_bytes(with_sorted_metadata(twin.read_bytes()))
    return folder / LORA_WEIGHT_NAME


def with_sorted_metadata(data: bytes) -> bytes:
    """A safetensors file whose metadata are in the order of their names; the library writes a random order.

    Layout: 8 bytes with the header's length, little-endian; the header, JSON, filled up with spaces to a multiple of 8;
    the tensors, whose offsets count from there.
    """
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@torch.no_grad()
def draw_validation(
    pipe: RelationBoothPipeline,
    validation: ValidationOptions,
    triplets: list[Triplet],
    metadata: RelationMetadata,
    image_prompt_scale: float,
) -> dict[str, list[Image.Image]]:
    """Pictures of the validation prompt by {"without", "with"} the LoRA; picture k of both has seed + k."""
    images, phrases, _ = validation_prompts(validation, triplets)
    prior = metadata.layout_prior
    conditioning = {
        "image_prompts": pipe.encode_image_prompts(images, phrases),
        "boxes": prior if len(prior) == len(images) else None,
        "image_prompt_scale": image_prompt_scale,
    }
    pictures: dict[str, list[Image.Image]] = {}
    for name in ("without", "with"):
        (pipe.unet.disable_adapters if name == "without" else pipe.unet.enable_adapters)()
        pictures[name] = draw_pictures(pipe, validation, **conditioning)
    return pictures


def _most_common(values: list):
    return Counter(values).most_common(1)[0][0]
