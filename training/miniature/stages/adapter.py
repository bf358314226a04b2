"""Stage "adapter": resampler and image K/V on the frozen base, by MS-Diffusion's recipe, on kind (a) alone."""

import random
from functools import partial
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline.pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_adapter import RelationAdapter
from relationbooth_pipeline.relation_attention import install_parallel_attention
from relationbooth_pipeline.relation_loaders import load_model

from ...adapter.step import Dropouts, initialise_from_text, predict
from ...common.made_for import BASE, made_for, weights_digest
from ..optimization.step_graphs import to_device
from ..world.captions import make_caption
from ..world.identities import SPECIES
from ..world.pictures import contact_sheet, to_pictures
from ..world.poses import ACTIONS
from ..world.rendering import BACKGROUNDS, PROMPT_SIZE, render
from ..world.splits import held_out_characters, poses_of_kinds
from ..world.tokenizer import tokenize
from .base import GUIDANCE
from .diffusion import encode_text, noisy_and_velocity, random_timesteps, time_ids
from .image_prompts import LocalTokens, encoded_prompts, image_prompt, image_tokens, local_tokens
from .latents import denoising_loss, detail_weights, from_tuple, scene_latents
from .training_loop import Trainer

RESAMPLER = {"dim": 192, "depth": 2, "heads": 6, "dim_head": 32, "num_queries": 8}
SPECIES_SHARE = 0.6  # of the phrases name the species, the others say "animal": identity has to come from the pictures
DROPOUTS = Dropouts()
LOCAL_TOKENS = LocalTokens()
SCENE_SEED = 13
SCENE_UNNAMED = 0.35  # of the scenes' bodies have a colour without a name
DROPPED = ("keep_image", "keep_text", "drop_grounding")  # of `Dropouts.draw`
PROMPT_SEED = 17  # of the image prompts' poses and backgrounds


def build_adapter(unet, image_encoder, phrase_width, local=LOCAL_TOKENS, local_encoder=None):
    """The miniature's adapter, 2.2 M parameters; image K and V start as the text's, as in IP-Adapter's training."""
    width = image_encoder.config.hidden_size
    resampler = {**RESAMPLER, "local_injection": local.injection}
    if local_encoder is not None and local_encoder.config.hidden_size != width:
        resampler["local_embedding_dim"] = local_encoder.config.hidden_size
    adapter = RelationAdapter.for_unet(
        unet,
        width,
        phrase_width,
        resampler,
        image_prompt_size=PROMPT_SIZE,
        local_grid=local.grid,
        local_image_size=local.image_size,
    ).to(unet.device)
    initialise_from_text(adapter, unet)
    return adapter


def random_phrases_and_caption(scene, rng):
    """Phrases that give no identity away but, at most, the species; and the caption made of them."""
    details = ["species" if rng.random() < SPECIES_SHARE else "animal" for _ in scene[0]]
    place = scene[2] if rng.random() < 0.9 else None
    caption = make_caption([from_tuple(values) for values in scene[0]], scene[1], place, details)
    return caption.phrases, caption.text


def train_adapter(
    base, image_encoder, output_dir, plan, autocast, local=LOCAL_TOKENS, scenes=12_000, batch=64, dropouts=DROPOUTS,
    cache_dir=None,
):  # fmt: skip
    """Train, or resume, and save adapter and encoders to `output_dir`/model.

    Args:
        base: pipeline folder. image_encoder: folder of the vision tower. local: where local tokens come from.
        cache_dir: of latents and encoded image prompts; runs that differ in nothing of them may share it.
            Default: `output_dir`.
    Raises:
        ValueError: what is finished in `output_dir` belongs to another base, or in `cache_dir` to other encoders.
    """
    output_dir, cache_dir = Path(output_dir), Path(cache_dir or output_dir)
    made_for(output_dir, base=weights_digest(base, BASE))
    for folder in (output_dir, cache_dir):
        folder.mkdir(parents=True, exist_ok=True)
    device = plan.device
    pipeline = RelationBoothPipeline.from_pretrained(base).to(device)
    pipeline.set_progress_bar_config(disable=True)
    local_encoder = local.load(image_encoder)
    image_encoder = load_model(CLIPVisionModelWithProjection, image_encoder, dtype=torch.float32).to(device).eval()
    data = scene_latents(
        cache_dir / "latents.pt", pipeline.vae.eval(), scenes, "a", SCENE_SEED, SCENE_UNNAMED,
        workers=plan.dataloader_num_workers,
    )  # fmt: skip
    encoders = {cache_dir / "image_tokens.pt": partial(image_tokens, encoder=image_encoder)}
    if local_encoder is not None:
        kept = cache_dir / f"local_tokens_{local.tokens_name}.pt"
        encoders[kept] = partial(local_tokens, encoder=local_encoder.to(device), settings=local)
    with autocast():
        tokens = encoded_prompts(encoders, data["scenes"], PROMPT_SEED, plan.dataloader_num_workers)
    features = dict(zip(("image_tokens", "local_tokens"), tokens))
    unet, tokenizer = pipeline.unet, pipeline.tokenizer
    if device == "cpu":
        unet.set_attn_processor(AttnProcessor())  # see the stage "base"
    install_parallel_attention(unet)
    torch.manual_seed(plan.seed)
    phrase_width = pipeline.text_encoder.config.hidden_size
    adapter = build_adapter(unet, image_encoder, phrase_width, local, local_encoder).train()
    for frozen in (unet, pipeline.text_encoder, pipeline.text_encoder_2):
        frozen.requires_grad_(False).eval()
    trainer = Trainer({"adapter": adapter}, plan, output_dir)
    alphas, latents = pipeline.scheduler.alphas_cumprod.to(device), data["latents"].to(device)
    features = {name: tokens.to(device) for name, tokens in features.items()}
    details = None if data["details"] is None else data["details"].to(device)
    words = sorted({*SPECIES, "animal"})
    with torch.no_grad():
        embeds = pipeline.text_encoder(tokenize(tokenizer, words).to(device)).pooler_output
    boxes = torch.zeros(len(data["scenes"]), 2, 4)
    present = torch.zeros(len(data["scenes"]), 2, dtype=torch.bool)
    for index, rows in enumerate(data["boxes"]):
        boxes[index, : len(rows)], present[index, : len(rows)] = torch.tensor(rows), True
    boxes, present = boxes.to(device), present.to(device)

    def batch_of(step, rng):
        rows = [rng.randrange(len(data["scenes"])) for _ in range(batch)]
        said = [random_phrases_and_caption(data["scenes"][row], rng) for row in rows]
        rows = to_device(torch.tensor(rows), device)
        names = torch.tensor([[words.index((*phrases, phrases[0])[n]) for n in range(2)] for phrases, _ in said])
        dropped, timesteps = dropouts.draw(batch, device), random_timesteps(batch, device)
        noisy, velocity = noisy_and_velocity(latents[rows].float(), timesteps, alphas)
        return {
            "ids": to_device(tokenize(tokenizer, [text for _, text in said]), device),
            "time_ids": time_ids(batch, device),
            "phrase_embeds": embeds[to_device(names, device)],
            **{name: tokens[rows].float() for name, tokens in features.items()},
            "boxes": boxes[rows],
            "present": present[rows],
            **dict(zip(DROPPED, dropped)),
            "timesteps": timesteps,
            "noisy": noisy,
            "velocity": velocity,
            **({} if details is None else {"weights": detail_weights(details[rows].float())}),
        }

    def loss_of(drawn):
        with autocast():
            with torch.no_grad():
                context, pooled = encode_text(pipeline.text_encoder, pipeline.text_encoder_2, drawn["ids"])
            inputs, dropped = {**drawn, "context": context, "pooled": pooled}, [drawn[name] for name in DROPPED]
            output = predict(unet, adapter, inputs, drawn["noisy"], drawn["timesteps"], dropped)
            return denoising_loss(output, drawn["velocity"], drawn.get("weights")), {}

    def after_interval(step):
        adapter.save_pretrained(output_dir / "model")
        for name, encoder in (("image_encoder", image_encoder), ("local_image_encoder", local_encoder)):
            if encoder is not None:
                encoder.save_pretrained(output_dir / "model" / name)
        sample_sheet(pipeline, output_dir / "model", output_dir / f"samples_{step:06d}.png")

    return trainer.run(loss_of, after_interval, batch_of)


def sample_sheet(pipeline, adapter_folder, path, count=8, kinds="a", seed=0):
    """Sheet of held-out pairs: image prompt 1, image prompt 2, with the adapter, the same seed without it."""
    pipeline = RelationBoothPipeline.from_pipe(pipeline)
    pipeline.load_relation_adapter(adapter_folder)
    rng, unseen, pictures, texts = random.Random(41), held_out_characters(), [], []
    relations = [name for name in poses_of_kinds(kinds) if name not in ACTIONS]
    for index in range(count):
        pair, pose = rng.sample(unseen, 2), relations[index % len(relations)]
        layout = render(pair, pose, "meadow", rng, swapped=False)
        caption = make_caption(pair, pose, rng.choice(tuple(BACKGROUNDS)), "species")
        prompts = [image_prompt(character, rng) for character in pair]
        shared = {**GUIDANCE, "output_type": "pt"}
        with_prompts = pipeline(
            caption.text, image_prompts=prompts, phrases=list(caption.phrases), boxes=layout.boxes.tolist(),
            image_prompt_scale=1.0, generator=torch.Generator().manual_seed(seed + index), **shared,
        ).images  # fmt: skip
        without = pipeline(caption.text, generator=torch.Generator().manual_seed(seed + index), **shared).images
        pictures += [*prompts, *to_pictures(with_prompts * 2 - 1), *to_pictures(without * 2 - 1)]
        texts += [
            pair[0].key.replace("/", " "),
            pair[1].key.replace("/", " "),
            caption.text,
            "the same without image prompts",
        ]
    contact_sheet(pictures, path, columns=8, captions=texts)
    pipeline.unload_relation_adapter()
    install_parallel_attention(pipeline.unet)
