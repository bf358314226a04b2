"""A learned relation embedding R*: the ablation "w/o relation-aware data" (RelationBooth, Table 4).

Relation inversion, in place of a RelationLoRA: one new word stands for the predicate, its embeddings are all that
trains, and the image prompts are blank, so that nothing but the word can carry the relation.
"""

import copy
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
from ...common.loop import TrainingDiverged
from ...common.options import options
from ...lora.arguments import RelationLoraOptions, load_triplets, parse_arguments
from ...lora.cache import collate, encode_triplets
from ...lora.loss_terms import LossSettings
from ...lora.step import step_losses
from ...train_relation_lora_sdxl import load_pipeline
from ..stages.relation_loras import SETTINGS, training_arguments

WORD = "<relation>"  # R*; diffusers writes its further vectors as <relation>_1, <relation>_2, …
FILE_NAME = "learned_relation.safetensors"
BLANK = (128, 128, 128)  # mid-grey: near the mean that the image encoders subtract


def text_parts(pipe):
    """(key in the file, tokenizer, text encoder) of both encoders; the keys are diffusers' for SDXL."""
    return ("clip_l", pipe.tokenizer, pipe.text_encoder), ("clip_g", pipe.tokenizer_2, pipe.text_encoder_2)


def predicate_embeddings(pipe, predicate):
    """{"clip_l", "clip_g": (V, D)}: the embeddings of the predicate's own V tokens, from which R* starts."""
    start = {}
    for key, tokenizer, encoder in text_parts(pipe):
        ids = tokenizer(predicate, add_special_tokens=False, return_tensors="pt").input_ids[0]
        start[key] = encoder.get_input_embeddings().weight[ids].detach().clone()
    return start


def add_relation_embedding(pipe, embeddings):
    """Teach both tokenizers and text encoders the word `WORD`.

    Args:
        embeddings: {"clip_l", "clip_g": (V, D)}.
    Raises:
        ValueError: a tensor is missing, or the word is already there (`unload_relation_embedding` first).
    """
    if missing := {"clip_l", "clip_g"} - set(embeddings):
        raise ValueError(
            f"a relation embedding must hold `clip_l` and `clip_g`, got {sorted(embeddings)} without "
            f"{sorted(missing)}. Give a file that `train_relation_embedding` wrote."
        )
    if pipe.tokenizer_2 is pipe.tokenizer:  # a tokenizer takes a word only once, and each encoder adds it to its own
        pipe.tokenizer_2 = copy.deepcopy(pipe.tokenizer)
    for key, tokenizer, encoder in text_parts(pipe):
        pipe.load_textual_inversion(embeddings[key], token=WORD, text_encoder=encoder, tokenizer=tokenizer)


def load_relation_embedding(pipe, file):
    """`add_relation_embedding` of a file; prompts may then say `WORD` for the predicate."""
    add_relation_embedding(pipe, load_file(file))


def unload_relation_embedding(pipe):
    """Forget the word: both text encoders are then as before `load_relation_embedding`, bit for bit."""
    for _, tokenizer, encoder in text_parts(pipe):
        added = tokenizer.get_added_vocab()
        words = sorted((word for word in added if word.startswith(WORD)), key=added.get)
        pipe.unload_textual_inversion(words, tokenizer=tokenizer, text_encoder=encoder)
        encoder.resize_token_embeddings(len(tokenizer))  # the config's `vocab_size`, which diffusers leaves too large


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
    start = predicate_embeddings(pipe, predicates[0])
    add_relation_embedding(pipe, start)
    triplets = [without_relation_data(triplet) for triplet in triplets]
    loop, views = run.loop, run.views
    cached = encode_triplets(pipe, triplets, views, loop.seed, run.lora.image_prompt_scale)
    order = BatchOrder([drawn[0].size for drawn in cached], views.views_per_triplet, loop.train_batch_size, loop.seed)
    scheduler, losses = training_scheduler(pipe.scheduler.config), LossSettings(kml_weight=0.0)
    weights = {key: encoder.get_input_embeddings().weight for key, _, encoder in text_parts(pipe)}
    for key, weight in weights.items():
        # Without a gradient, and without weight decay, AdamW leaves the other rows exactly as they are.
        is_new = torch.arange(len(weight))[:, None] >= len(weight) - len(start[key])
        weight.requires_grad_(True).register_hook(lambda gradient, is_new=is_new: gradient * is_new)
    optimizer = torch.optim.AdamW(weights.values(), lr=loop.learning_rate, weight_decay=0.0)

    bar = tqdm(range(loop.max_train_steps), desc="steps", mininterval=10)
    for step in bar:
        draws = order.batch(step)
        prompts = [triplets[draw.item].prompt for draw in draws]
        text, _, pooled, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False)
        batch = collate([cached[draw.item][draw.view] for draw in draws])
        batch = dataclasses.replace(batch, text=text, pooled=pooled)
        noise = noise_and_timesteps(draws, batch.latent_mean.shape[1:], scheduler.config.num_train_timesteps)
        loss, _ = step_losses(pipe.unet, batch, *noise, scheduler, losses)
        if not torch.isfinite(loss):
            raise TrainingDiverged(f"the loss of step {step + 1} is not finite. Lower `learning_rate`.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), loop.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    return {key: weight.requires_grad_(False)[-len(start[key]) :].clone() for key, weight in weights.items()}


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
    file = output_dir / FILE_NAME
    if file.exists():
        return file
    settings = {
        "max_train_steps": max_train_steps,
        "train_batch_size": train_batch_size,
        "learning_rate": learning_rate,
        "views_per_triplet": views_per_triplet,
    }
    run = options(RelationLoraOptions, parse_arguments(training_arguments(model, output_dir, pose, seed, **settings)))
    triplets = load_triplets(run)
    learned = invert_relation(load_pipeline(run.base, run.adapter, torch.float32), triplets, run)
    output_dir.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as path:
        save_file(learned, path)
    return file
