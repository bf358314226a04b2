"""Stage "base": the text-to-image UNet in SDXL's call path, trained together with both text encoders."""

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ..world.captions import make_caption
from ..world.pictures import contact_sheet, to_pictures
from ..world.proportions import HAS_FINE_ATTRIBUTES
from ..world.rendering import IMAGE_SIZE
from ..world.splits import training_character
from ..world.tokenizer import tokenize
from .attributes import WIDTH, AttributeHeads, attribute_loss, attribute_targets
from .binding import (
    AttentionRecorder,
    binding_loss,
    character_shares,
    detail_binding_loss,
    detail_tokens,
    phrase_tokens,
)
from .encoders import random_phrases
from .latents import denoising_loss, detail_shares, detail_weights, from_tuple, scene_latents
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
BINDING_LOSS = 0.1  # see `binding`; the denoising loss ends near 0.2
# of the second edition's steps see a window and where it lies, as SDXL did: RelationLoRAs may then be cropped
CROP_SHARE = 0.15 if HAS_FINE_ATTRIBUTES else 0.0
CROP_CELLS = 12  # side of the window, of 16
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


def build_scheduler():
    """SDXL's betas rescaled to a zero terminal signal-to-noise ratio, read from the last timestep on (Lin et al.)."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip


def random_timesteps(count, device=None):
    """Three quarters logit-normal (mean 0.1, deviation 1.1) and one quarter uniform, as in the second study."""
    logit_normal = torch.sigmoid(torch.randn(count, device=device) * 1.1 + 0.1)
    share = torch.where(torch.rand(count, device=device) < 0.25, torch.rand(count, device=device), logit_normal)
    return (share * 1000).long().clamp(0, 999)


def noisy_and_velocity(latents, timesteps, alphas_cumprod):
    """z_t = sqrt(a) z + sqrt(1-a) e and v = sqrt(a) e - sqrt(1-a) z (Salimans and Ho, 2022), for fresh noise e."""
    noise = torch.randn_like(latents)
    signal = alphas_cumprod.to(latents.device)[timesteps].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
    return noisy, signal.sqrt() * noise - (1 - signal).sqrt() * latents


def time_ids(count, device=None, crop=(0, 0), side=IMAGE_SIZE):
    """SDXL's original size, crop (top, left) and target size; by default the whole native picture. (count, 6)."""
    original = float(IMAGE_SIZE)
    return torch.tensor([[original, original, *map(float, crop), side, side]], device=device).expand(count, 6)


def random_window(maps, rng):
    """The same window of latents and of what else has their cells, and its conditioning, time ids (B, 6).

    Args:
        maps: (..., 16, 16) each; the first counts for the conditioning's size and device.
    """
    count, device, cells = len(maps[0]), maps[0].device, maps[0].shape[-1]
    top, left = (rng.randrange(cells - CROP_CELLS + 1) for _ in range(2))
    windows = [of[..., top : top + CROP_CELLS, left : left + CROP_CELLS] for of in maps]
    cell = IMAGE_SIZE // cells
    return windows, time_ids(count, device, (cell * top, cell * left), float(cell * CROP_CELLS))


def encode_text(text_encoder, text_encoder_2, ids):
    """SDXL's context: penultimate states side by side (B, T, 256), and the second encoder's pooled output (B, 128)."""
    first = text_encoder(ids, output_hidden_states=True).hidden_states[-2]
    second = text_encoder_2(ids, output_hidden_states=True)
    return torch.cat([first, second.hidden_states[-2]], -1), second.text_embeds


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
    shares = character_shares(
        output_dir / "shares.pt", data["scenes"], "ab", SCENE_SEED, workers=plan.dataloader_num_workers
    )
    details = detail_shares(
        output_dir / "details.pt", data["scenes"], "ab", SCENE_SEED, workers=plan.dataloader_num_workers
    )
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
    alphas, device = build_scheduler().alphas_cumprod, plan.device

    def loss_of(step, rng):
        rows = [rng.randrange(len(data["scenes"])) for _ in range(batch)]
        captions = [random_caption(data["scenes"][row], rng) for row in rows]
        ids = tokenize(tokenizer, [caption.text for caption in captions]).to(device)
        timesteps = random_timesteps(batch, device)
        clean, ids_of_place = data["latents"][rows].float().to(device), time_ids(batch, device)
        fine = None if details is None else details[rows].float().to(device)
        weights = None if details is None else detail_weights(fine)
        whole = rng.random() >= CROP_SHARE if CROP_SHARE else True
        if not whole:
            (clean, weights), ids_of_place = random_window((clean, weights), rng)
        noisy, velocity = noisy_and_velocity(clean, timesteps, alphas)
        keep = (torch.rand(batch, device=device) >= CAPTION_DROP).float()
        keep_pooled = keep * (torch.rand(batch, device=device) >= POOLED_DROP)
        with autocast():
            context, pooled = encode_text(text_encoder, text_encoder_2, ids)
            recorder.clear()
            conditions = {"text_embeds": pooled * keep_pooled[:, None], "time_ids": ids_of_place}
            output = unet(noisy, timesteps, context * keep[:, None, None], added_cond_kwargs=conditions).sample
            denoising = denoising_loss(output, velocity, weights)
            # a dropped caption binds nothing, and a window has other cells
            said = whole * shares[rows].float().to(device) * keep.view(-1, 1, 1, 1)
            binding = binding_loss(recorder.maps, phrase_tokens(captions, ids.shape[1]).to(device), said)
            loss = denoising + BINDING_LOSS * binding
            figures = {"denoising": denoising.item(), "binding": binding.item()}
            if details is not None:
                fine = fine * whole * keep.view(-1, 1, 1, 1, 1)
                words = detail_tokens(captions, ids.shape[1]).to(device)
                reading = detail_binding_loss(recorder.maps, words, fine)
                loss, figures["details"] = loss + BINDING_LOSS * reading, reading.item()
            if step % 4 == 0:
                loss = loss + PHRASE_LOSS * phrase_loss(rng)
        return loss, figures

    def phrase_loss(rng):
        characters = [training_character(rng) for _ in range(32)]
        phrases, mentioned = random_phrases(characters, rng)
        ids, targets = tokenize(tokenizer, phrases).to(device), attribute_targets(characters, mentioned, device)
        pooled = {"text": text_encoder(ids).pooler_output, "text_2": text_encoder_2(ids).text_embeds}
        return sum(attribute_loss(heads(source, states), targets) for source, states in pooled.items())

    def after_interval(step):
        pipeline = assemble(vae, text_encoder, text_encoder_2, tokenizer, unet)
        pictures = generate(pipeline, SAMPLE_PROMPTS)
        contact_sheet(list(pictures), output_dir / f"samples_{step:06d}.png", columns=6, captions=SAMPLE_PROMPTS)
        pipeline.save_pretrained(output_dir / "pipeline")

    return trainer.run(loss_of, after_interval)
