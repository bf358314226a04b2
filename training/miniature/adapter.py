"""Stage "adapter": resampler and image K/V on the frozen base, by MS-Diffusion's recipe, on kind (a) alone."""

import random
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from tqdm import tqdm
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline.pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_adapter import RelationAdapter
from relationbooth_pipeline.relation_attention import install_parallel_attention
from relationbooth_pipeline.relation_image_encoder import LocalImageEncoder
from relationbooth_pipeline.relation_images import clip_pixels

from .base import GUIDANCE, encode_text, noisy_and_velocity, random_timesteps, time_ids
from .captions import make_caption
from .latents import from_tuple, scene_latents
from .pictures import contact_sheet, to_pictures
from .poses import ACTIONS
from .splits import held_out_characters, poses_of_kinds
from .tokenizer import tokenize
from .training_loop import Trainer, write_atomically
from .world import BACKGROUNDS, render

PROMPT_SIZE = (
    256  # pixels of an image prompt: twice the native size, so that the local tokens see more than the image tokens
)
LOCAL_GRID = 4
RESAMPLER = {"dim": 192, "depth": 2, "heads": 6, "dim_head": 32, "num_queries": 8}
SPECIES_SHARE = 0.6  # of the phrases name the species, the others say "animal": identity has to come from the pictures


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of MS-Diffusion's recipe (Wang et al., 2025): image prompts, text or both zeroed."""

    image: float = 0.05
    text: float = 0.05
    both: float = 0.05
    grounding: float = 0.10

    def draw(self, count, device=None):
        """(keep_image, keep_text, drop_grounding): bool (count,)."""
        share = torch.rand(count, device=device)
        both = (share >= self.image + self.text) & (share < self.image + self.text + self.both)
        keep_image, keep_text = share >= self.image, (share < self.image) | (share >= self.image + self.text)
        return keep_image & ~both, keep_text & ~both, torch.rand(count, device=device) < self.grounding


DROPOUTS = Dropouts()


def build_adapter(unet, image_encoder, phrase_width):
    """The miniature's adapter, 2.2 M parameters; image K and V start as the text's, as in IP-Adapter's training."""
    width = image_encoder.config.hidden_size
    adapter = RelationAdapter.for_unet(
        unet,
        width,
        phrase_width,
        RESAMPLER,
        image_prompt_size=PROMPT_SIZE,
        local_grid=LOCAL_GRID,
        local_image_size=PROMPT_SIZE,
    )
    with torch.no_grad():
        for path, layer in zip(adapter.config.layer_widths, adapter.layers.values()):
            attention = unet.get_submodule(path)
            layer.to_k.weight.copy_(attention.to_k.weight)
            layer.to_v.weight.copy_(attention.to_v.weight)
    return adapter


def image_prompt(character, rng, avoid=None):
    """PIL picture of a character alone, in an action of kind (a) other than `avoid`, before a random background."""
    actions = [name for name in poses_of_kinds("a", ACTIONS) if name != avoid]
    scene = render(
        [character], rng.choice(actions), rng.choice(tuple(BACKGROUNDS)), rng, size=PROMPT_SIZE, annotate=False
    )
    return Image.fromarray(scene.image)


@torch.no_grad()
def encode_prompts(images, image_encoder, local_encoder):
    """Image tokens (R, T, E) and local tokens (R, 16, E) of PIL pictures, as the pipeline computes them."""
    size = image_encoder.config.image_size
    tokens = image_encoder(clip_pixels(images, size, PROMPT_SIZE), output_hidden_states=True).hidden_states[-2]
    return tokens, local_encoder(clip_pixels(images, PROMPT_SIZE, PROMPT_SIZE), grid=LOCAL_GRID)


def prompt_features(path, scenes, image_encoder, local_encoder, seed, autocast):
    """Encoder outputs of one image prompt for each character of each scene, cached in `path`.

    Returns:
        {"image_tokens": (scenes, 2, T, E) float16, "local_tokens": (scenes, 2, 16, E) float16}; zeros where there is no
        second character.
    """
    if path.exists():
        return torch.load(path, weights_only=True)
    width = image_encoder.config.hidden_size
    patches = (image_encoder.config.image_size // image_encoder.config.patch_size) ** 2 + 1
    result = {
        "image_tokens": torch.zeros(len(scenes), 2, patches, width, dtype=torch.float16),
        "local_tokens": torch.zeros(len(scenes), 2, LOCAL_GRID**2, width, dtype=torch.float16),
    }
    rows = [(index, number) for index, scene in enumerate(scenes) for number in range(len(scene[0]))]
    for start in tqdm(range(0, len(rows), 32), desc="encoding image prompts", mininterval=10):
        part = rows[start : start + 32]
        images = []
        for index, number in part:
            rng = random.Random(seed * 1_000_003 + 2 * index + number)
            images.append(image_prompt(from_tuple(scenes[index][0][number]), rng, avoid=scenes[index][1]))
        with autocast():
            encoded = encode_prompts(images, image_encoder, local_encoder)
        for name, values in zip(result, encoded):
            result[name][tuple(torch.tensor(part).T)] = values.half()
    write_atomically(path, lambda temporary: torch.save(result, temporary))
    return result


def adapter_loss(unet, adapter, batch, alphas_cumprod, dropouts):
    """Squared error of the frozen UNet's velocity, with image prompts read beside the text.

    Args:
        batch: dict of latents (B, 8, h, w); context (B, T, C) and pooled (B, ·), the encoded text; image_tokens,
            local_tokens (B, N, ·, E); phrase_embeds (B, N, ·); boxes (B, N, 4); present (B, N) bool.
    Returns:
        Scalar. Nothing but the adapter gets a gradient when the rest is frozen.
    """
    latents, present = batch["latents"], batch["present"]
    count, height, width = latents.shape[0], *latents.shape[-2:]
    keep_image, keep_text, drop_grounding = dropouts.draw(count, latents.device)
    timesteps = random_timesteps(count, latents.device)
    noisy, velocity = noisy_and_velocity(latents, timesteps, alphas_cumprod)
    kept = keep_image.view(-1, 1, 1, 1).to(latents.dtype)
    layers = adapter(
        batch["image_tokens"] * kept,
        batch["phrase_embeds"],
        batch["boxes"],
        present.to(latents.dtype),  # γ = 1 in training
        local_tokens=batch["local_tokens"] * kept,
        drop_grounding=drop_grounding,
    )
    masks = adapter.attention_masks(batch["boxes"], present, height, width, len(unet.config.block_out_channels))
    text = keep_text.to(latents.dtype)
    output = unet(
        noisy,
        timesteps,
        batch["context"] * text[:, None, None],
        added_cond_kwargs={"text_embeds": batch["pooled"] * text[:, None], "time_ids": time_ids(count, latents.device)},
        cross_attention_kwargs={"ip_hidden_states": layers, "ip_adapter_masks": masks},
    ).sample
    return (output.float() - velocity).square().mean()


def random_phrases_and_caption(scene, rng):
    """Phrases that give no identity away but, at most, the species; and the caption made of them."""
    details = ["species" if rng.random() < SPECIES_SHARE else "animal" for _ in scene[0]]
    place = scene[2] if rng.random() < 0.9 else None
    caption = make_caption([from_tuple(values) for values in scene[0]], scene[1], place, details)
    return caption.phrases, caption.text


def train_adapter(root, plan, autocast, scenes=4_000, batch=64, dropouts=DROPOUTS):
    """Train, or resume, and save adapter and encoders to `root`/adapter/model; needs the stages before it."""
    output_dir = root / "adapter"
    output_dir.mkdir(parents=True, exist_ok=True)
    pipeline = RelationBoothPipeline.from_pretrained(root / "base" / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    image_encoder = CLIPVisionModelWithProjection.from_pretrained(root / "encoders" / "image_encoder").eval()
    local_encoder = LocalImageEncoder.from_pretrained(root / "encoders" / "image_encoder").eval()
    data = scene_latents(
        output_dir / "latents.pt", pipeline.vae.eval(), scenes, "a", 13, unnamed_color_share=0.35, annotate=True
    )
    features = prompt_features(output_dir / "prompts.pt", data["scenes"], image_encoder, local_encoder, 17, autocast)
    unet, tokenizer = pipeline.unet, pipeline.tokenizer
    if unet.device.type == "cpu":
        unet.set_attn_processor(AttnProcessor())  # see the stage "base"
    install_parallel_attention(unet)
    torch.manual_seed(plan.seed)
    adapter = build_adapter(unet, image_encoder, pipeline.text_encoder.config.hidden_size).train()
    for frozen in (unet, pipeline.text_encoder, pipeline.text_encoder_2):
        frozen.requires_grad_(False).eval()
    trainer = Trainer({"adapter": adapter}, plan, output_dir)
    alphas = pipeline.scheduler.alphas_cumprod
    boxes = torch.zeros(len(data["scenes"]), 2, 4)
    present = torch.zeros(len(data["scenes"]), 2, dtype=torch.bool)
    for index, rows in enumerate(data["boxes"]):
        boxes[index, : len(rows)], present[index, : len(rows)] = torch.tensor(rows), True

    def loss_of(step, rng):
        rows = [rng.randrange(len(data["scenes"])) for _ in range(batch)]
        said = [random_phrases_and_caption(data["scenes"][row], rng) for row in rows]
        with autocast():
            with torch.no_grad():
                ids = tokenize(tokenizer, [text for _, text in said])
                context, pooled = encode_text(pipeline.text_encoder, pipeline.text_encoder_2, ids)
                words = sorted({phrase for phrases, _ in said for phrase in phrases})
                embeds = dict(zip(words, pipeline.text_encoder(tokenize(tokenizer, words)).pooler_output.float()))
            phrase_embeds = torch.stack(
                [torch.stack([embeds[(*phrases, phrases[0])[n]] for n in range(2)]) for phrases, _ in said]
            )
            inputs = {
                "latents": data["latents"][rows].float(),
                "context": context,
                "pooled": pooled,
                "phrase_embeds": phrase_embeds,
                "image_tokens": features["image_tokens"][rows].float(),
                "local_tokens": features["local_tokens"][rows].float(),
                "boxes": boxes[rows],
                "present": present[rows],
            }
            return adapter_loss(unet, adapter, inputs, alphas, dropouts), {}

    def after_interval(step):
        adapter.save_pretrained(output_dir / "model")
        for part in ("image_encoder", "local_image_encoder"):
            (image_encoder if part == "image_encoder" else local_encoder).save_pretrained(output_dir / "model" / part)
        sample_sheet(pipeline, output_dir / "model", output_dir / f"samples_{step:06d}.png")

    return trainer.run(loss_of, after_interval)


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
