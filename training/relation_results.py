"""What a RelationLoRA run leaves behind: the weights with their header, validation pictures, a loss curve, a card."""

import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from huggingface_hub import ModelCard, ModelCardData
from peft.utils import get_peft_model_state_dict
from PIL import Image

from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.relation_lora import WEIGHT_NAME, RelationMetadata, write_relation_metadata
from relationbooth_pipeline.triplets import Triplet

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
CURVE_SPAN = 20  # steps of the running mean in the loss curve
VALIDATION_STEPS = 30  # of denoising


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
    """The prompt with {0}, {1}, … in the phrases' places; a longer phrase first, it may contain a shorter one."""
    for index in sorted(range(len(phrases)), key=lambda i: -len(phrases[i])):
        prompt = prompt.replace(phrases[index], f"{{{index}}}", 1)
    return prompt


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
        os.replace(file, folder / WEIGHT_NAME)
    return folder / WEIGHT_NAME


@torch.no_grad()
def draw_validation(pipe, args, triplets: list[Triplet], metadata: RelationMetadata) -> dict[str, list[Image.Image]]:
    """Pictures of the validation prompt by {"without", "with"} the LoRA; picture k of both has seed + k."""
    if args.validation_images:
        images, phrases = [open_image(file) for file in args.validation_images], args.validation_phrases
    else:
        images, phrases = [open_image(file) for file in triplets[0].image_prompts], triplets[0].phrases
    prior = metadata.layout_prior
    encoded = pipe.encode_image_prompts(images, phrases)
    pictures: dict[str, list[Image.Image]] = {}
    rescale = 0.5 if pipe.scheduler.config.get("rescale_betas_zero_snr") else 0.0
    for name in ("without", "with"):
        (pipe.unet.disable_adapters if name == "without" else pipe.unet.enable_adapters)()
        pictures[name] = [
            pipe(
                args.validation_prompt,
                image_prompts=encoded,
                boxes=prior if len(prior) == len(images) else None,
                image_prompt_scale=args.image_prompt_scale,
                height=args.resolution,
                width=args.resolution,
                num_inference_steps=VALIDATION_STEPS,
                guidance_scale=args.validation_guidance_scale,
                guidance_rescale=rescale,
                generator=torch.Generator().manual_seed(args.seed + k),
            ).images[0]
            for k in range(args.num_validation_images)
        ]
    return pictures


def log_validation(accelerator, pictures: dict[str, list[Image.Image]], step: int, folder: Path) -> None:
    """PNG files in `folder`/validation, and the same to the trackers."""
    (folder / "validation").mkdir(exist_ok=True)
    for name, images in pictures.items():
        for k, image in enumerate(images):
            image.save(folder / "validation" / f"step_{step}_{name}_{k}.png")
    arrays = {name: np.stack([np.asarray(image) for image in images]) for name, images in pictures.items()}
    for tracker in accelerator.trackers:
        layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images(arrays, step, **layout)


def plot_losses(history: list[dict[str, float]], path: Path) -> None:
    """The loss and its parts over the steps, each with a running mean."""
    from matplotlib.figure import Figure

    names = [name for name in history[0] if any(row[name] for row in history)]
    figure = Figure(figsize=(8, 2.4 * len(names)), layout="constrained")
    steps = range(1, len(history) + 1)
    for axes, name in zip(figure.subplots(len(names), sharex=True, squeeze=False)[:, 0], names):
        values = [row[name] for row in history]
        means = [sum(values[max(0, i - CURVE_SPAN) : i]) / min(i, CURVE_SPAN) for i in steps]
        axes.plot(steps, values, color="#9aa0a6", linewidth=0.7, label="step")
        axes.plot(steps, means, color="#1a73e8", linewidth=1.6, label=f"mean of {CURVE_SPAN} steps")
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("step")
    figure.axes[0].legend(frameon=False, loc="upper right")
    figure.savefig(path, dpi=120)


def write_card(folder: Path, args, metadata: RelationMetadata, repo_id: str, count: int, step: int) -> None:
    """`README.md` of the Hub repository: gallery, how to use it, how it was trained."""
    files = sorted((folder / "validation").glob(f"step_{step}_with_*.png"))
    prompt = args.validation_prompt or metadata.template
    widget = [{"text": prompt, "output": {"url": file.relative_to(folder).as_posix()}} for file in files] or None
    boxes = metadata.layout_prior
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

Boxes guide, they do not bind. The relation was learned from {count} examples of {len(boxes)} objects; others may
follow it less well. You need the rights to the photos you use.
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
