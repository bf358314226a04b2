"""DreamBooth-LoRA, Textual Inversion and Custom Diffusion of drawn characters, by the recipes of diffusers' scripts.

What is theirs: which weights train, their start, the loss, the optimiser, the files. What is ours: the drawn world has
no word "photo", so a prompt is "a sks cat"; rates are higher and steps fewer, for minutes instead of hours. All photos
of a subject are trained on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor2_0
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from relationbooth_pipeline.evaluation.systems.subjects import CUSTOM_WEIGHTS, TOKEN
from relationbooth_pipeline.relation_attention import cross_attention_layers
from relationbooth_pipeline.relation_files import whole_folder

from ..world.captions import with_article
from .tuning import Denoising, Tuning, encoded, photo_latents, tune
from .words import add_word, embeddings_of, forget_word, save_word, train_last_rows

LORA_RANK = 4
LORA_TARGETS = ("to_k", "to_q", "to_v", "to_out.0")  # of self- and cross-attention
DREAMBOOTH = Tuning(steps=100, batch=4, learning_rate=1e-3, weight_decay=1e-4)
TEXTUAL_INVERSION = Tuning(steps=100, batch=4, learning_rate=2e-2, weight_decay=0.0)  # decay would move other words
CUSTOM_DIFFUSION = Tuning(steps=60, batch=4, learning_rate=1e-3, weight_decay=0.0)
PRIOR_WEIGHT = 1.0  # of the class pictures' loss


@dataclass(frozen=True)
class Subject:
    """A character as recipes see it.

    Attributes:
        name: of its folder. noun: its class. photos: all of them. class_photos, class_prompts: others of its class.
    """

    name: str
    noun: str
    photos: Sequence[Image.Image]
    class_photos: Sequence[Image.Image] = ()
    class_prompts: Sequence[str] = ()


class _Batches:
    """Batches of latents with their prompts, each subject in turn."""

    def __init__(self, latents: Sequence[torch.Tensor], size: int, generator: torch.Generator):
        self.latents, self.size, self.generator, self.turn = latents, size, generator, 0

    def __iter__(self) -> Iterator[tuple[int, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[int, torch.Tensor]:
        at = self.turn % len(self.latents)
        self.turn += 1
        return at, torch.randint(0, len(self.latents[at]), (self.size,), generator=self.generator)


def dreambooth_lora(
    pipe: StableDiffusionXLPipeline, subject: Subject, folder: Path, run: Tuning, seed: int = 0
) -> None:
    """`train_dreambooth_lora_sdxl.py`: a LoRA of the UNet's attention for "a sks cat"; text encoders frozen."""
    torch.manual_seed(seed)  # of the LoRA's start
    generator = torch.Generator().manual_seed(seed)
    latents, denoising = photo_latents(pipe, subject.photos), Denoising(pipe, generator)
    with torch.no_grad():
        context, pooled = encoded(pipe, [with_article(f"{TOKEN} {subject.noun}")])
    batches = _Batches([latents], run.batch, generator)
    config = LoraConfig(
        r=LORA_RANK, lora_alpha=LORA_RANK, init_lora_weights="gaussian", target_modules=list(LORA_TARGETS)
    )
    pipe.unet.add_adapter(config, "subject")
    try:

        def loss() -> torch.Tensor:
            _, rows = next(batches)
            return denoising(latents[rows], context.expand(run.batch, -1, -1), pooled.expand(run.batch, -1)).mean()

        tune([p for p in pipe.unet.parameters() if p.requires_grad], loss, run)
        state = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet, adapter_name="subject"))
    finally:
        pipe.unet.unload_lora()
    with whole_folder(folder) as fresh:
        StableDiffusionXLPipeline.save_lora_weights(fresh, unet_lora_layers=state)


def textual_inversion(
    pipe: StableDiffusionXLPipeline, subject: Subject, folder: Path, run: Tuning, seed: int = 0
) -> None:
    """`textual_inversion_sdxl.py`: one new word in both text encoders, from the class noun on; nothing else trains."""
    generator = torch.Generator().manual_seed(seed)
    latents, denoising = photo_latents(pipe, subject.photos), Denoising(pipe, generator)
    batches, prompt = _Batches([latents], run.batch, generator), f"a <{subject.name}>"
    with _new_words(pipe, [subject], embeddings_of(pipe, subject.noun)) as (weights, end):

        def loss() -> torch.Tensor:
            _, rows = next(batches)
            context, pooled = encoded(pipe, [prompt])
            return denoising(latents[rows], context.expand(run.batch, -1, -1), pooled.expand(run.batch, -1)).mean()

        tune(weights, loss, run)
        learned = end()
    with whole_folder(folder) as fresh:
        save_word(fresh, f"<{subject.name}>", {key: rows[0] for key, rows in learned.items()})


def custom_diffusion(
    pipe: StableDiffusionXLPipeline, subjects: Sequence[Subject], folder: Path, run: Tuning, seed: int = 0
) -> None:
    """`train_custom_diffusion.py`, for SDXL: K and V of the text cross-attention and a word before each class noun.

    Each step has photos of one subject, in turn, and as many pictures of its class with their own prompts (prior
    preservation with real pictures). Words start from the script's rare token.
    """
    generator = torch.Generator().manual_seed(seed)
    denoising = Denoising(pipe, generator)
    photos = [photo_latents(pipe, subject.photos) for subject in subjects]
    others = [photo_latents(pipe, subject.class_photos) for subject in subjects]
    own, prior = _Batches(photos, run.batch // 2, generator), _Batches(others, run.batch // 2, generator)
    prompts = [with_article(f"<{subject.name}> {subject.noun}") for subject in subjects]
    with torch.no_grad():
        of_class = [encoded(pipe, subject.class_prompts) for subject in subjects]
    stock = dict(pipe.unet.attn_processors)
    start = {key: rows[:1] for key, rows in embeddings_of(pipe, TOKEN).items()}
    try:
        trained = _custom_processors(pipe)
        with _new_words(pipe, subjects, start) as (weights, end):

            def loss() -> torch.Tensor:
                (at, rows), (_, class_rows) = next(own), next(prior)
                context, pooled = encoded(pipe, [prompts[at]])
                texts = [text[class_rows] for text in of_class[at]]
                found = denoising(
                    torch.cat([photos[at][rows], others[at][class_rows]]),
                    torch.cat([context.expand(len(rows), -1, -1), texts[0]]),
                    torch.cat([pooled.expand(len(rows), -1), texts[1]]),
                )
                return found[: len(rows)].mean() + PRIOR_WEIGHT * found[len(rows) :].mean()

            tune([*trained, *weights], loss, run)
            learned = end()
        with whole_folder(folder) as fresh:
            pipe.unet.save_attn_procs(fresh, weight_name=CUSTOM_WEIGHTS, safe_serialization=True)
            for at, subject in enumerate(subjects):
                place = fresh / subject.name if len(subjects) > 1 else fresh
                save_word(place, f"<{subject.name}>", {key: rows[at] for key, rows in learned.items()})
    finally:
        pipe.unet.set_attn_processor(stock)


def _custom_processors(pipe: StableDiffusionXLPipeline) -> list[torch.nn.Parameter]:
    """Give every text cross-attention K and V of its own that start as the base's; gives these weights."""
    layers, processors = dict(pipe.unet.named_modules()), {}
    trained = set(cross_attention_layers(pipe.unet))
    for name in pipe.unet.attn_processors:
        path = name.removesuffix(".processor")
        layer, is_trained = layers[path], path in trained
        processors[name] = CustomDiffusionAttnProcessor2_0(
            train_kv=is_trained,
            train_q_out=False,
            hidden_size=layer.to_k.out_features if is_trained else None,
            cross_attention_dim=layer.to_k.in_features if is_trained else None,
        )
        if is_trained:
            processors[name].to_k_custom_diffusion.weight.data.copy_(layer.to_k.weight)
            processors[name].to_v_custom_diffusion.weight.data.copy_(layer.to_v.weight)
    parameters = [p for processor in processors.values() for p in processor.parameters()]
    pipe.unet.set_attn_processor(processors)  # which empties the dict
    return parameters


@contextmanager
def _new_words(pipe: StableDiffusionXLPipeline, subjects: Sequence[Subject], start: dict):
    """A word for each subject, which trains: (weights, end of `train_last_rows`); forgotten afterwards."""
    words = [f"<{subject.name}>" for subject in subjects]
    for word in words:
        add_word(pipe, word, start)
    try:
        end = train_last_rows(pipe, len(words))
        yield [encoder.get_input_embeddings().weight for encoder in (pipe.text_encoder, pipe.text_encoder_2)], end
    finally:
        for word in reversed(words):
            forget_word(pipe, word)
