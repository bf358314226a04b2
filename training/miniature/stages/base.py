"""Stage "base": the text-to-image UNet in SDXL's call path, trained together with both text encoders."""

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ..optimization.step_graphs import to_device
from ..world.captions import make_caption
from ..world.pictures import contact_sheet, to_pictures
from ..world.proportions import HAS_FINE_ATTRIBUTES
from ..world.rendering import IMAGE_SIZE
from ..world.splits import training_character
from ..world.tokenizer import tokenize
from .attributes import ATTRIBUTES, WIDTH, AttributeHeads, attribute_loss, attribute_targets
from .binding import (
    AttentionRecorder,
    binding_loss,
    detail_binding_loss,
    detail_tokens,
    phrase_tokens,
)
from .diffusion import (
    build_scheduler,
    encode_text,
    noisy_and_velocity,
    random_timesteps,
    random_window,
    time_ids,
)
from .encoders import random_phrases
from .latents import denoising_loss, detail_weights, from_tuple, scene_latents
from .training_loop import Trainer
from .warm_start import start_unet

CAPTION_DROP = 0.1  # of the captions become zeros: the unconditional half of guidance
POOLED_DROP = 0.3  # of the pooled texts: the easy way round cross-attention, which would then learn nothing
# How much of a character its phrase tells. A base that is never told of a glyph draws the average of all: a smear.
TOLD = {"full": 0.75, "species": 0.15, "animal": 0.10}
if HAS_FINE_ATTRIBUTES:
    TOLD = {"fine": 0.55, "full": 0.20, "species": 0.15, "animal": 0.10}
PLACE_SHARE = 0.9  # of the captions name the background
SCENE_SEED = 11
KEPT_OF_SCENES = ("latents", "shares", "details")
BINDING_LOSS = 0.1  # see `binding`; the denoising loss ends near 0.2
# of the second edition's steps see a window and where it lies, as SDXL did: RelationLoRAs may then be cropped
CROP_SHARE = 0.15 if HAS_FINE_ATTRIBUTES else 0.0
PHRASE_LOSS = 0.05  # keeps the pooled outputs meaningful while the UNet shapes the states below them
GUIDANCE = {"num_inference_steps": 25, "guidance_scale": 3.0, "guidance_rescale": 0.5}

SAMPLE_PROMPTS = (
    "a red rabbit is hugging a blue cat in a meadow",
    "a yellow duck is hugging a purple elephant in a studio",
    "a green frog is shaking hands with a white bear at night",
    "a brown lion is shaking hands with a pink pig in a meadow",
    "a blue elephant is high fiving a red frog in a studio",
    "a white rabbit is high fiving a green bear at night",
    "a red duck is back to back with a yellow cat in a meadow",
    "a pink lion is back to back with a white duck in a studio",
    "a yellow cat is kissing a blue frog in a meadow",
    "a brown bear is kissing a green rabbit in a studio",
    "a white elephant is holding hands with a purple duck at night",
    "a green pig is holding hands with a yellow lion in a meadow",
    "a blue spotted rabbit is standing in a studio",
    "a yellow striped cat is waving at night",
    "a red bear wearing a hat is jumping in a meadow",
    "a white frog wearing a scarf is waving in a studio",
    "a pink spotted elephant is hugging a brown pig wearing a hat in a meadow",
    "a green striped lion is kissing a white cat at night",
)


def build_unet(latent_channels=8, pooled_width=WIDTH):
    """11.3 M parameters; cross-attention at 8x8 and 4x4, which the study found to be enough."""
    time_width = 32
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(2, 4, 6),  # diffusers reads this as the number of heads
        cross_attention_dim=2 * WIDTH,
        use_linear_projection=True,
        norm_num_groups=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=pooled_width + 6 * time_width,
    )


def random_caption(scene, rng):
    """Caption of a stored scene with a random amount of detail for each character."""
    characters = [from_tuple(values) for values in scene[0]]
    details = rng.choices(tuple(TOLD), tuple(TOLD.values()), k=len(characters))
    return make_caption(characters, scene[1], scene[2] if rng.random() < PLACE_SHARE else None, details)


def assemble(vae, text_encoder, text_encoder_2, tokenizer, unet):
    """The stock SDXL pipeline around the miniature's parts."""
    pipeline = StableDiffusionXLPipeline(
        vae=vae, text_encoder=text_encoder, text_encoder_2=text_encoder_2, tokenizer=tokenizer, tokenizer_2=tokenizer,
        unet=unet, scheduler=build_scheduler(), force_zeros_for_empty_prompt=True, add_watermarker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline, prompts, seed=0, **arguments):
    """(B, S, S, 3) uint8; picture i is drawn from seed + i."""
    generators = [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))]
    pictures = pipeline(list(prompts), generator=generators, output_type="pt", **{**GUIDANCE, **arguments}).images
    return to_pictures(pictures * 2 - 1)


def train_base(root, plan, autocast, scenes=24_000, batch=64, start_from=None):
    """Train, or resume, and save the SDXL folder to `root`/base/pipeline; needs the stages "vae" and "encoders".

    Args:
        start_from: pipeline folder whose UNet it begins with; None: random weights.
    """
    output_dir = root / "base"
    output_dir.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderKL.from_pretrained(root / "vae" / "model").to(plan.device).eval()
    data = scene_latents(output_dir / "latents.pt", vae, scenes, "ab", SCENE_SEED, workers=plan.dataloader_num_workers)
    tokenizer = CLIPTokenizer.from_pretrained(root / "encoders" / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(root / "encoders" / "text_encoder")
    text_encoder_2 = CLIPTextModelWithProjection.from_pretrained(root / "encoders" / "text_encoder_2")
    heads = AttributeHeads()
    heads.load_state_dict(torch.load(root / "encoders" / "heads.pt", map_location="cpu", weights_only=True))
    heads.requires_grad_(False).to(plan.device)
    torch.manual_seed(plan.seed)
    unet = build_unet()
    if start_from is not None:
        start_unet(unet, start_from)
    unet.set_attn_processor(AttnProcessor())  # the recorder reads its scores
    recorder = AttentionRecorder(unet)
    if plan.device == "cpu":  # fused attention is 40 % of the step on a CPU, through its backward pass
        for encoder in (text_encoder, text_encoder_2):
            encoder.set_attn_implementation("eager")
    modules = {"unet": unet, "text_encoder": text_encoder, "text_encoder_2": text_encoder_2}
    for module in modules.values():
        module.train()
    trainer = Trainer(modules, plan, output_dir)
    device, alphas = plan.device, build_scheduler().alphas_cumprod.to(plan.device)
    latents, shares, details = (None if of is None else of.to(device) for of in map(data.get, KEPT_OF_SCENES))

    def batch_of(step, rng):
        rows = [rng.randrange(len(data["scenes"])) for _ in range(batch)]
        captions = [random_caption(data["scenes"][row], rng) for row in rows]
        rows = to_device(torch.tensor(rows), device)
        ids = tokenize(tokenizer, [caption.text for caption in captions])
        timesteps, clean = random_timesteps(batch, device), latents[rows].float()
        fine = None if details is None else details[rows].float()
        weights = None if details is None else detail_weights(fine)
        place, whole = time_ids(batch, device), not CROP_SHARE or rng.random() >= CROP_SHARE
        if not whole:
            (clean, weights), place = random_window((clean, weights), rng)
        noisy, velocity = noisy_and_velocity(clean, timesteps, alphas)
        keep = (torch.rand(batch, device=device) >= CAPTION_DROP).float()
        said = whole * keep  # a dropped caption binds nothing, and a window has other cells
        drawn = {
            "ids": to_device(ids, device),
            "timesteps": timesteps,
            "noisy": noisy,
            "velocity": velocity,
            "time_ids": place,
            "keep": keep,
            "keep_pooled": keep * (torch.rand(batch, device=device) >= POOLED_DROP),
            "phrases": to_device(phrase_tokens(captions, ids.shape[1]), device),
            "shares": shares[rows].float() * said.view(-1, 1, 1, 1),
        }
        if details is not None:
            words = to_device(detail_tokens(captions, ids.shape[1]), device)
            drawn |= {"weights": weights, "words": words, "details": fine * said.view(-1, 1, 1, 1, 1)}
        return drawn | phrase_batch(rng) if step % 4 == 0 else drawn

    def phrase_batch(rng):
        characters = [training_character(rng) for _ in range(32)]
        phrases, mentioned = random_phrases(characters, rng)
        targets = attribute_targets(characters, mentioned)
        drawn = {
            "ids of phrases": tokenize(tokenizer, phrases),
            **{f"target {name}": of for name, of in targets.items()},
        }
        return {name: to_device(tensor, device) for name, tensor in drawn.items()}

    def loss_of(drawn):
        with autocast():
            context, pooled = encode_text(text_encoder, text_encoder_2, drawn["ids"])
            recorder.clear()
            conditions = {"text_embeds": pooled * drawn["keep_pooled"][:, None], "time_ids": drawn["time_ids"]}
            context = context * drawn["keep"][:, None, None]
            output = unet(drawn["noisy"], drawn["timesteps"], context, added_cond_kwargs=conditions).sample
            figures = {
                "denoising": denoising_loss(output, drawn["velocity"], drawn.get("weights")),
                "binding": binding_loss(recorder.maps, drawn["phrases"], drawn["shares"]),
            }
            loss = figures["denoising"] + BINDING_LOSS * figures["binding"]
            if details is not None:
                figures["details"] = detail_binding_loss(recorder.maps, drawn["words"], drawn["details"])
                loss = loss + BINDING_LOSS * figures["details"]
            if "ids of phrases" in drawn:
                loss = loss + PHRASE_LOSS * phrase_loss(drawn)
        return loss, {name: figure.detach() for name, figure in figures.items()}

    def phrase_loss(drawn):
        ids, targets = drawn["ids of phrases"], {name: drawn[f"target {name}"] for name in ATTRIBUTES}
        pooled = {"text": text_encoder(ids).pooler_output, "text_2": text_encoder_2(ids).text_embeds}
        return sum(attribute_loss(heads(source, states), targets) for source, states in pooled.items())

    def after_interval(step):
        pipeline = assemble(vae, text_encoder, text_encoder_2, tokenizer, unet)
        pictures = generate(pipeline, SAMPLE_PROMPTS)
        contact_sheet(list(pictures), output_dir / f"samples_{step:06d}.png", columns=6, captions=SAMPLE_PROMPTS)
        pipeline.save_pretrained(output_dir / "pipeline")

    return trainer.run(loss_of, after_interval, batch_of)
