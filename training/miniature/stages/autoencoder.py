"""Stage "vae": an 8x autoencoder with 8 latent channels, trained on fresh renders with bodies of any colour."""

import random

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from ..world.pictures import contact_sheet, to_pictures, to_tensor
from ..world.poses import RELATIONS
from ..world.rendering import BACKGROUNDS, IMAGE_SIZE, Scene, render
from ..world.splits import known_poses, training_character
from .training_loop import Trainer, TrainingPlan
from .warm_start import vae_from

CROP = 64  # pixels; small crops give three times the steps, whole images come in the last part
WHOLE_IMAGE_SHARE = 0.3
CROPS_PER_IMAGE = 2
DETAIL_CROP = 48  # pixels; where characters have details, one crop of each picture shows one
CODE_SIDE = 8  # pixels of a latent; crops begin on its grid, as in the whole picture


def build_autoencoder():
    """2.7 M parameters, 5.5 MB in half precision."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        scaling_factor=1.0,
        force_upcast=False,
    )


def random_scene(rng, unnamed_color_share=0.6) -> Scene:
    """A scene of any pose; more than half of the bodies have colours without a name.

    All poses, also those that base and adapter never see: like SDXL's, this autoencoder is to hold whatever is drawn.
    """
    pose = rng.choice(known_poses())
    characters = [training_character(rng, unnamed_color_share) for _ in range(2 if pose in RELATIONS else 1)]
    return render(characters, pose, rng.choice(tuple(BACKGROUNDS)), rng, annotate=False)


def random_image(rng, unnamed_color_share=0.6):
    """The picture of a `random_scene`."""
    return random_scene(rng, unnamed_color_share).image


def _gradients(x):
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def reconstruction_loss(target, output, posterior):
    """Edge-weighted squared and absolute error, squared error of gradients, and a light KL term.

    L1 alone deletes eyes and spots early in training; weighting by the edges of the target keeps them (first study).

    Args:
        target, output: (B, 3, S, S) in [-1, 1]. posterior: diffusers' DiagonalGaussianDistribution.
    """
    error = output - target
    rows, columns = _gradients(error)
    edges = [gradient.abs() for gradient in _gradients(target)]
    edge = F.pad(edges[0], (0, 0, 0, 1)) + F.pad(edges[1], (0, 1))
    weight = 1 + 5 * F.max_pool2d(edge.mean(1, keepdim=True), 5, 1, 2).clamp(max=1)
    weight = weight / weight.mean()
    mean, log_variance = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    squared, absolute = (weight * error.square()).mean(), (weight * error.abs()).mean()
    return 4 * squared + 0.3 * absolute + 2 * (rows.square().mean() + columns.square().mean()) + 1e-4 * kl


def psnr(target, output):
    """Mean peak signal-to-noise ratio in dB of (B, 3, S, S) pictures in [-1, 1]."""
    return (10 * torch.log10(4 / (target - output.clamp(-1, 1)).square().mean((1, 2, 3)))).mean().item()


@torch.no_grad()
def reconstruct(vae, images):
    """Encode (mode) and decode (B, 3, S, S)."""
    return torch.cat(
        [vae.decode(vae.encode(batch.to(vae.device)).latent_dist.mode()).sample.cpu() for batch in images.split(16)]
    )


def measure(vae, rng, count=64):
    """PSNR in dB on fresh renders with named colours, and with colours outside them."""
    named = to_tensor([random_image(rng, 0.0) for _ in range(count)])
    unnamed = to_tensor([random_image(rng, 1.0) for _ in range(count)])
    return {
        "psnr_named": psnr(named, reconstruct(vae, named)),
        "psnr_unnamed": psnr(unnamed, reconstruct(vae, unnamed)),
    }


def fold_latent_statistics(vae, images):
    """Rewrite the two 1x1 convolutions so that latents have mean 0 and deviation 1 in each channel, exactly.

    Args:
        vae: changed in place. images: (B, 3, S, S) to measure on.
    """
    with torch.no_grad():
        latents = torch.cat([vae.encode(batch.to(vae.device)).latent_dist.mode() for batch in images.split(16)])
        mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        channels = len(mean)
        vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
        vae.post_quant_conv.weight *= deviation.view(1, -1, 1, 1)
        vae.quant_conv.weight[:channels] /= deviation.view(-1, 1, 1, 1)
        vae.quant_conv.bias[:channels] = (vae.quant_conv.bias[:channels] - mean) / deviation
        vae.quant_conv.bias[channels:] -= 2 * deviation.log()


def random_batch(rng, whole_images):
    """Four whole pictures, or twelve crops of six, (B, 3, S, S) in [-1, 1]."""
    if whole_images:
        return to_tensor([random_image(rng) for _ in range(4)])
    crops = []
    for _ in range(12 // CROPS_PER_IMAGE):
        scene = random_scene(rng)
        places = [place for found in scene.details for points in found.values() for place in points]
        side = DETAIL_CROP if places else CROP
        for number in range(CROPS_PER_IMAGE):
            if places and number == 0:
                top, left = _corner_around(rng.choice(places), side, rng)
            else:
                top, left = (rng.randrange(0, IMAGE_SIZE - side + 1, CODE_SIDE) for _ in range(2))
            crops.append(scene.image[top : top + side, left : left + side])
    return to_tensor(crops)


def _corner_around(place, side, rng):
    """(top, left) of a crop on the latents' grid that holds `place`, (x, y) in [0, 1], away from its border."""
    corners = []
    for value in reversed(place):
        inside = value * IMAGE_SIZE - rng.uniform(0.25, 0.75) * side
        corners.append(min(max(0, round(inside / CODE_SIDE) * CODE_SIDE), IMAGE_SIZE - side))
    return tuple(corners)


def run_autoencoder(vae, trainer, autocast):
    """Train what `trainer` holds of `vae` on fresh pictures; returns whether the plan's end was reached."""

    def loss_of(step, rng):
        images = random_batch(rng, step >= (1 - WHOLE_IMAGE_SHARE) * trainer.plan.max_train_steps).to(vae.device)
        with autocast():
            posterior = vae.encode(images).latent_dist
            output = vae.decode(posterior.sample()).sample
        return reconstruction_loss(images, output.float(), posterior), {}

    def after_interval(step):
        figures = measure(vae, random.Random(10_000_019))
        text = ", ".join(f"{name} {value:.2f} dB" for name, value in figures.items())
        print(f"\n{trainer.output_dir.name} step {step}: {text}", flush=True)
        rng = random.Random(7)
        images = [random_image(rng, 0.5) for _ in range(16)]
        rows = []
        for half in (images[:8], images[8:]):
            rows += [*half, *to_pictures(reconstruct(vae, to_tensor(half)))]
        contact_sheet(rows, trainer.output_dir / "samples.png", columns=8)

    return trainer.run(loss_of, after_interval)


def train_vae(output_dir, plan: TrainingPlan, autocast, statistics_images=512, start_from=None):
    """Train, or resume, and save the folded autoencoder to `output_dir`/model.

    Args:
        autocast: callable that returns the mixed-precision context.
        statistics_images: pictures that the latents' mean and deviation are measured on.
        start_from: pipeline folder whose autoencoder goes on; None: random weights.
    """
    torch.manual_seed(plan.seed)
    vae = (build_autoencoder() if start_from is None else vae_from(start_from)).train()
    trainer = Trainer({"vae": vae}, plan, output_dir)
    finished = run_autoencoder(vae, trainer, autocast)
    vae.eval()
    rng = random.Random(20_000_003)
    fold_latent_statistics(vae, to_tensor([random_image(rng, 0.3) for _ in range(statistics_images)]))
    vae.save_pretrained(trainer.output_dir / "model")
    return finished


def train_decoder(root, plan: TrainingPlan, autocast):
    """Train the decoder of `root`/vae/model further and save the whole to `root`/decoder/model.

    The encoder stays, so base and adapter, trained on its latents, stay valid.
    """
    vae = AutoencoderKL.from_pretrained(root / "vae" / "model").to(plan.device)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    modules = {"decoder": vae.decoder.train(), "post_quant_conv": vae.post_quant_conv}
    trainer = Trainer(modules, plan, root / "decoder")
    finished = run_autoencoder(vae, trainer, autocast)
    vae.eval().save_pretrained(trainer.output_dir / "model")
    return finished
