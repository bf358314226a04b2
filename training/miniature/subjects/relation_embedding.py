"""A learned relation embedding R*: the ablation "w/o relation-aware data" (RelationBooth, Table 4).

Relation inversion, in place of a RelationLoRA: one new word stands for the predicate, its embeddings are all that
trains, and the image prompts are blank, so that nothing but the word can carry the relation.
"""

import dataclasses
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.relation_layouts import phrase_places

from ...common.batch_order import BatchOrder, noise_and_timesteps
from ...common.diffusion import training_scheduler
from ...common.made_for import PIPELINE, made_for, weights_digest
from ...common.options import options
from ...lora.arguments import RelationLoraOptions, load_triplets, parse_arguments
from ...lora.cache import collate, encode_triplets
from ...lora.loss_terms import LossSettings
from ...lora.step import step_losses
from ...train_relation_lora_sdxl import load_pipeline
from ..stages.relation_loras import SETTINGS, training_arguments
from .tuning import Tuning, tune
from .words import KEYS, add_word, embeddings_of, forget_word, text_parts, train_last_rows

WORD = "<relation>"  # R*; diffusers writes its further vectors as <relation>_1, <relation>_2, …
FILE_NAME = "learned_relation.safetensors"
BLANK = (128, 128, 128)  # mid-grey: near the mean that the image encoders subtract


def load_relation_embedding(pipe, file):
    """Prompts may then say `WORD` for the predicate that `train_relation_embedding` wrote `file` for."""
    add_word(pipe, WORD, load_file(file))


def unload_relation_embedding(pipe):
    forget_word(pipe, WORD)


def with_relation_word(caption):
    """A `Caption` that says `WORD` for its predicate."""
    start, end = caption.predicate_span
    longer = len(WORD) - (end - start)
    return dataclasses.replace(
        caption,
        text=caption.text[:start] + WORD + caption.text[end:],
        phrase_spans=tuple((a, b) if b <= start else (a + longer, b + longer) for a, b in caption.phrase_spans),
        predicate=WORD,
        predicate_span=(start, start + len(WORD)),
    )


def without_relation_data(triplet):
    """A `Triplet` whose prompt says `WORD` and whose image prompts are blank, at their own sizes."""
    ((start, end),) = phrase_places([triplet.predicate], triplet.prompt)  # checked when it was read
    return dataclasses.replace(
        triplet,
        prompt=triplet.prompt[:start] + WORD + triplet.prompt[end:],
        predicate=WORD,
        image_prompts=[Image.new("RGB", open_image(file).size, BLANK) for file in triplet.image_prompts],
    )


def invert_relation(pipe, triplets, run):
    """Learn R* with the denoising loss alone, on the views, batches and noise of the RelationLoRA script.

    Args:
        pipe: with its adapter, all frozen; afterwards the word is loaded, and nothing else has changed.
        triplets: of one predicate, with their real image prompts.
        run: `RelationLoraOptions` of `train_relation_lora_sdxl.py`.
    Returns:
        {"clip_l", "clip_g": (V, D)}, as many vectors as the predicate has tokens.
    Raises:
        ValueError: the triplets have several predicates.
        TrainingDiverged: a loss is not finite.
    """
    predicates = sorted({triplet.predicate for triplet in triplets})
    if len(predicates) > 1:
        raise ValueError(f"`triplets` must share one predicate, got {predicates}. Train one embedding for each.")
    start = embeddings_of(pipe, predicates[0])
    add_word(pipe, WORD, start)
    triplets = [without_relation_data(triplet) for triplet in triplets]
    loop, views = run.loop, run.views
    cached = encode_triplets(pipe, triplets, views, loop.seed, run.lora.image_prompt_scale)
    order = BatchOrder([drawn[0].size for drawn in cached], views.views_per_triplet, loop.train_batch_size, loop.seed)
    scheduler, losses = training_scheduler(pipe.scheduler.config), LossSettings(kml_weight=0.0)
    weights = [encoder.get_input_embeddings().weight for _, _, encoder in text_parts(pipe)]
    end = train_last_rows(pipe, len(start[KEYS[0]]))
    steps = iter(tqdm(range(loop.max_train_steps), desc="steps", mininterval=10))

    def loss_of():
        draws = order.batch(next(steps))
        prompts = [triplets[draw.item].prompt for draw in draws]
        text, _, pooled, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False)
        batch = collate([cached[draw.item][draw.view] for draw in draws])
        batch = dataclasses.replace(batch, text=text, pooled=pooled)
        noise = noise_and_timesteps(draws, batch.latent_mean.shape[1:], scheduler.config.num_train_timesteps)
        return step_losses(pipe.unet, batch, *noise, scheduler, losses)[0]

    numbers = (loop.max_train_steps, loop.train_batch_size, loop.learning_rate, 0.0, loop.max_grad_norm)
    tune(weights, loss_of, Tuning(*numbers))
    return end()


def train_relation_embedding(
    model,
    output_dir,
    pose,
    seed=0,
    *,
    max_train_steps=SETTINGS["max_train_steps"],
    train_batch_size=SETTINGS["train_batch_size"],
    learning_rate=2e-2,  # at 5e-3 the words have not arrived after 500 steps
    views_per_triplet=SETTINGS["views_per_triplet"],
):
    """R* of `pose` on the miniature in `model`, from the triplets that a RelationLoRA of this seed has; float32.

    Returns:
        The file, in diffusers' format for SDXL's textual inversion: {"clip_l", "clip_g": (V, D)}. A finished one is
        kept.
    """
    output_dir = Path(output_dir)
    settings = {
        "max_train_steps": max_train_steps,
        "train_batch_size": train_batch_size,
        "learning_rate": learning_rate,
        "views_per_triplet": views_per_triplet,
    }
    told = {"pose": pose, "seed": seed, **settings}
    made_for(output_dir, model=weights_digest(model, PIPELINE), training=told)
    file = output_dir / FILE_NAME
    if file.exists():
        return file
    run = options(RelationLoraOptions, parse_arguments(training_arguments(model, output_dir, pose, seed, **settings)))
    triplets = load_triplets(run)
    learned = invert_relation(load_pipeline(run.base, run.adapter, torch.float32), triplets, run)
    output_dir.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as path:
        save_file(learned, path)
    return file
