"""The card of a RelationLoRA: what it teaches, on which base, under which licence, how to use it."""

import json
import logging
import re
from collections import Counter
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData, hf_hub_download

from relationbooth_pipeline.exchange.kohya import twin_name
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME, whole_file
from relationbooth_pipeline.relation_regions import RelationMetadata
from relationbooth_pipeline.triplets import Triplet

from ..common.options import BaseOptions
from .arguments import AdapterOptions, RelationLoraOptions
from .results import prompt_template

CARD_NAME = "README.md"
UNKNOWN_LICENSE = "other"  # the Hub's word
LICENSE_FIELDS = ("license", "license_name", "license_link")
ARTICLES = ("a", "an", "the")
PLACE = re.compile(r"\{\d+\}")
TAGS = [
    "text-to-image",
    "diffusers-training",
    "diffusers",
    "lora",
    "template:sd-lora",
    "stable-diffusion-xl",
    "stable-diffusion-xl-diffusers",
    "relationbooth",
]
logger = logging.getLogger(__name__)


def is_local(source: str) -> bool:
    """Whether a model is a file or folder here, which a reader of the card does not have."""
    return Path(source).exists()


def public_name(source: str) -> str:
    """A Hub repository's id; of a file or folder its name, without the way to it on this machine."""
    return Path(source).resolve().name if is_local(source) else source


def license_of(base: BaseOptions) -> dict[str, str]:
    """The licence that the base model's own card names, as the fields of a card; "other" where none is told."""
    source = base.pretrained_model_name_or_path
    file = Path(source) / CARD_NAME
    try:
        if not is_local(source):
            file = Path(hf_hub_download(source, CARD_NAME, revision=base.revision, **base.hub))
        data = ModelCard.load(file).data.to_dict() if file.is_file() else {}
    except Exception as error:  # no network, no such file, a card that is no YAML: a finished run must not end there
        logger.warning(f"the card of `{source}` could not be read ({type(error).__name__}: {error})")
        data = {}
    if not isinstance(data.get("license"), str):
        logger.warning(f"no card of `{source}` tells a licence: ours says {UNKNOWN_LICENSE!r}; `--license` names it")
        return {"license": UNKNOWN_LICENSE}
    return {name: data[name] for name in LICENSE_FIELDS if name in data}


def trigger_words(triplets: list[Triplet], predicate: str) -> str:
    """The words around the predicate that the triplets' prompts share, {0}, {1}, … for their phrases.

    From the first place to the last, with the article before the first: what only some prompts say, a background for
    one, is no trigger, and neither is what follows the objects. Triplets with another number of objects than most have
    other sentences, and are not asked.
    """
    usual = Counter(len(t.phrases) for t in triplets).most_common(1)[0][0]
    templates = [prompt_template(t.prompt, t.phrases) for t in triplets if len(t.phrases) == usual]
    sides = [_sides(template.split(), predicate.split()) for template in templates]
    if None in sides:
        return predicate
    before = _shared([left[::-1] for left, _ in sides])[::-1]
    after = _shared([right for _, right in sides])
    places = [i for i, word in enumerate(before) if PLACE.search(word)]
    first = places[0] if places else len(before)
    if places and first and before[first - 1].lower() in ARTICLES:
        first -= 1
    last = max((i for i, word in enumerate(after) if PLACE.search(word)), default=-1)
    return " ".join([*before[first:], predicate, *after[: last + 1]]).rstrip(".,;:!?")


def write_card(
    folder: Path,
    run: RelationLoraOptions,
    metadata: RelationMetadata,
    triplets: list[Triplet],
    repo_id: str,
    steps: int,
) -> None:
    """`README.md` of the Hub repository: gallery, how to use it, how it was trained.

    Args:
        steps: of the whole run; the pictures drawn after the last of them become the gallery.
    """
    base, loop = run.base.pretrained_model_name_or_path, run.loop
    prompt = run.validation.validation_prompt or triplets[0].prompt
    files = sorted((folder / "validation").glob(f"step_{steps}_with_*.png"))
    counts = sorted({len(triplet.phrases) for triplet in triplets})
    objects = " or ".join(map(str, counts)) + (" object" if counts == [1] else " objects each")
    weight, limit = run.losses.kml_weight, run.losses.kml_max_timestep
    gate = "all timesteps" if limit is None else f"timesteps up to {limit}"
    trigger = run.lora.template or trigger_words(triplets, metadata.predicate)
    named = f"`{public_name(base)}`" if is_local(base) else f"[{base}](https://huggingface.co/{base})"
    twin = twin_name(metadata.relation)
    where = ", a model in a local folder" if is_local(base) else ""
    body = f"""
# RelationLoRA: {metadata.relation}

Teaches Stable Diffusion XL the relation **{metadata.predicate}** between the objects of your own photos. Trained with
[RelationBooth for Diffusers](https://huggingface.co/papers/2410.23280) on {named}{where}.

<Gallery />

## Trigger words

Write prompts like `{trigger}`; `{metadata.predicate}` carries the relation.

## Use it with your own objects

```python
from relationbooth_pipeline import RelationBoothPipeline

pipe = RelationBoothPipeline.from_pretrained({_quoted(public_name(base))})
pipe.load_relation_adapter({_adapter_arguments(run.adapter, base)})
pipe.load_lora_weights({_quoted(repo_id)}, weight_name="{LORA_WEIGHT_NAME}")
image = pipe(
    {_quoted(prompt)},
    image_prompts=[…],  # one photo per object
    phrases=[…],  # their nouns in the prompt
).images[0]  # without `boxes`, this file's own layout is used: {metadata.layout_prior}
```

## Use it elsewhere

| tool | file |
|---|---|
| diffusers alone | `pytorch_lora_weights.safetensors`, by `StableDiffusionXLPipeline.load_lora_weights` |
| ComfyUI | `{twin}` in `models/loras`, by the node "Load LoRA" |
| A1111, Forge | `{twin}` in `models/Lora`, as `<lora:{Path(twin).stem}:1>` in the prompt |

There the words carry the relation; the looks of your own objects need the adapter above.

## Training

{len(triplets)} triplets, {steps} steps of batch {loop.train_batch_size}, learning rate {loop.learning_rate:g}, rank
{run.lora.rank}, image prompt scale {run.lora.image_prompt_scale:g}, keypoint {run.losses.keypoint_loss} loss
{weight:g} ({gate}), {run.views.resolution} px.

## Limits

Boxes guide, they do not bind. The relation was learned from {len(triplets)} examples with {objects}; others may follow
it less well.

## Consent and disclosure

Use photos that you have the rights to, and of people with their consent only. A generated picture that could be taken
for a photograph should be told as generated: `relationbooth` writes its settings into every PNG, and diffusers SDXL's
invisible watermark where `invisible-watermark` is installed.
"""
    told = {} if is_local(base) else {"base_model": base, "base_model_relation": "adapter"}
    data = ModelCardData(
        **({"license": run.hub.license} if run.hub.license else license_of(run.base)),
        library_name="diffusers",
        pipeline_tag="text-to-image",
        instance_prompt=metadata.predicate,
        widget=[{"text": prompt, "output": {"url": file.relative_to(folder).as_posix()}} for file in files] or None,
        tags=TAGS,
        **told,
    )
    with whole_file(folder / CARD_NAME) as temporary:
        temporary.write_text(f"---\n{data.to_yaml()}\n---\n{body}", encoding="utf-8")


def _adapter_arguments(adapter: AdapterOptions, base: str) -> str:
    """What `load_relation_adapter` is given, as Python."""
    told, local = [_quoted(public_name(adapter.relation_adapter or base))], adapter.local_image_encoder
    if adapter.relation_adapter is None:
        told.append('subfolder="relation_adapter"')
    if adapter.relation_adapter_weight_name:
        told.append(f"weight_name={_quoted(adapter.relation_adapter_weight_name)}")
    if adapter.image_encoder:
        told.append(f"image_encoder={_quoted(public_name(adapter.image_encoder))}")
    if local:
        told.append(f"local_image_encoder={None if local == 'none' else _quoted(public_name(local))}")
    return ", ".join(told)


def _quoted(text: str) -> str:
    """A string of Python, whatever quotes `text` holds."""
    return json.dumps(text, ensure_ascii=False)


def _sides(words: list[str], predicate: list[str]) -> tuple[list[str], list[str]] | None:
    """The words before and after the predicate; None where it does not stand."""
    plain = [word.strip(".,;:!?").lower() for word in words]
    wanted = [word.lower() for word in predicate]
    for i in range(len(words) - len(wanted) + 1):
        if plain[i : i + len(wanted)] == wanted:
            return words[:i], words[i + len(wanted) :]
    return None


def _shared(rows: list[list[str]]) -> list[str]:
    """The words that all rows begin with."""
    shared = []
    for words in zip(*rows):
        if len({word.strip(".,;:!?") for word in words}) > 1:
            break
        shared.append(words[0])
    return shared
