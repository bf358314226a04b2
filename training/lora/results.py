"""What a RelationLoRA run leaves behind: the weights with their header, validation pictures, a card."""

import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from huggingface_hub import ModelCard, ModelCardData
from peft.utils import get_peft_model_state_dict
from PIL import Image

from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.relation_layouts import phrase_places
from relationbooth_pipeline.relation_lora import WEIGHT_NAME, RelationMetadata, write_relation_metadata
from relationbooth_pipeline.triplets import Triplet

from ..common.run_pictures import draw_pictures, validation_prompts

CARD_TAGS = [
    "text-to-image",
    "diffusers-training",
    "diffusers",
    "lora",
    "template:sd-lora",
    "stable-diffusion-xl",
    "stable-diffusion-xl-diffusers",
    "relationbooth",
]


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


def save_relation_lora(unet, folder: str | Path, metadata: RelationMetadata | None = None) -> Path:
    """`pytorch_lora_weights.safetensors` with PEFT's metadata (alpha) and our header, whole or not at all.

    Args:
        unet: unwrapped, with the LoRA as its adapter "default".
        metadata: None leaves our header out, as in checkpoints.
    """
    folder = Path(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lora-") as temporary:
        StableDiffusionXLPipeline.save_lora_weights(
            temporary,
            unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet)),
            unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
        )
        file = Path(temporary) / WEIGHT_NAME
        if metadata is not None:
            write_relation_metadata(file, metadata)
        with whole_file(folder / WEIGHT_NAME) as fresh:
            shutil.copyfile(file, fresh)
    return folder / WEIGHT_NAME


@torch.no_grad()
def draw_validation(pipe, args, triplets: list[Triplet], metadata: RelationMetadata) -> dict[str, list[Image.Image]]:
    """Pictures of the validation prompt by {"without", "with"} the LoRA; picture k of both has seed + k."""
    images, phrases, _ = validation_prompts(args, triplets)
    prior = metadata.layout_prior
    conditioning = {
        "image_prompts": pipe.encode_image_prompts(images, phrases),
        "boxes": prior if len(prior) == len(images) else None,
        "image_prompt_scale": args.image_prompt_scale,
    }
    pictures: dict[str, list[Image.Image]] = {}
    for name in ("without", "with"):
        (pipe.unet.disable_adapters if name == "without" else pipe.unet.enable_adapters)()
        pictures[name] = draw_pictures(pipe, args, **conditioning)
    return pictures


def write_card(folder: Path, args, metadata: RelationMetadata, repo_id: str, count: int, step: int) -> None:
    """`README.md` of the Hub repository: gallery, how to use it, how it was trained."""
    files = sorted((folder / "validation").glob(f"step_{step}_with_*.png"))
    prompt = args.validation_prompt or metadata.template
    widget = [{"text": prompt, "output": {"url": file.relative_to(folder).as_posix()}} for file in files] or None
    boxes = metadata.layout_prior
    objects = "one object" if len(boxes) == 1 else f"{len(boxes)} objects each"
    adapter = [f'"{args.relation_adapter or args.pretrained_model_name_or_path}"']
    if args.relation_adapter is None:
        adapter.append('subfolder="relation_adapter"')
    if args.relation_adapter_weight_name:
        adapter.append(f'weight_name="{args.relation_adapter_weight_name}"')
    if args.image_encoder:
        adapter.append(f'image_encoder="{args.image_encoder}"')
    if args.local_image_encoder:
        local = args.local_image_encoder
        adapter.append(f"local_image_encoder={None if local == 'none' else repr(local)}")
    gate = "all timesteps" if args.kml_max_timestep is None else f"timesteps up to {args.kml_max_timestep}"
    description = f"""
# RelationLoRA: {metadata.relation}

Teaches Stable Diffusion XL the relation **{metadata.predicate}** between the objects of your own photos. Trained with
[RelationBooth for Diffusers](https://huggingface.co/papers/2410.23280).

<Gallery />

## Trigger words

Write prompts like `{metadata.template}`; `{metadata.predicate}` carries the relation.

## Use it with your own objects

```python
from relationbooth_pipeline import RelationBoothPipeline

pipe = RelationBoothPipeline.from_pretrained("{args.pretrained_model_name_or_path}")
pipe.load_relation_adapter({", ".join(adapter)})
pipe.load_lora_weights("{repo_id}", weight_name="{WEIGHT_NAME}")
image = pipe(
    "{prompt}",
    image_prompts=[…],  # one photo per object
    phrases=[…],  # their nouns in the prompt
).images[0]  # without `boxes`, this file's own layout is used: {boxes}
```

The same file is an ordinary SDXL LoRA: `StableDiffusionXLPipeline.load_lora_weights` reads it too, without image
prompts.

## Training

{count} triplets, {step} steps of batch {args.train_batch_size}, learning rate {args.learning_rate:g}, rank
{args.rank}, image prompt scale {args.image_prompt_scale:g}, keypoint matching loss {args.kml_weight:g} ({gate}),
{args.resolution} px.

## Limits

Boxes guide, they do not bind. The relation was learned from {count} examples with {objects}; others may follow
it less well. You need the rights to the photos you use.
"""
    data = ModelCardData(
        license="openrail++",
        library_name="diffusers",
        base_model=args.pretrained_model_name_or_path,
        instance_prompt=prompt,
        widget=widget,
        tags=CARD_TAGS,
    )
    ModelCard(f"---\n{data.to_yaml()}\n---\n{description}").save(folder / "README.md")


def _most_common(values: list):
    return Counter(values).most_common(1)[0][0]
