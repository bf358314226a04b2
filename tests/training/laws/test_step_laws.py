"""A RelationLoRA step's loss by its equations, sample by sample; weights at zero terminal SNR; the VAE's factor."""

import math

import pytest
import torch
from diffusers import DDPMScheduler

from relationbooth_pipeline.triplets import read_triplets
from tests.tiny import photo, tiny_pipeline, tiny_vae
from tests.tiny_training import save_triplets
from training.common.diffusion import denoising_loss, prediction_target
from training.common.latents import latent_posterior, with_area
from training.common.options import ViewOptions
from training.lora.cache import collate, encode_triplets, image_prompt_pixels
from training.lora.loss_terms import LossSettings
from training.lora.step import step_losses

TIMESTEPS = torch.tensor([333, 334, 50])
SETTINGS = LossSettings(kml_weight=0.5, kml_max_timestep=333)


def loops(batch, noise, posterior, output):
    """Loss of each sample, from the UNet's output and Eqs. 5 to 7, in plain numbers."""
    alpha, alphas = 1.0, []
    for i in range(1000):  # scaled-linear
        alpha *= 1 - (math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 999) ** 2
        alphas.append(alpha)
    losses = []
    for b, t in enumerate(TIMESTEPS.tolist()):
        latents = batch.latent_mean[b] + batch.latent_std[b] * posterior[b]
        noisy = math.sqrt(alphas[t]) * latents + math.sqrt(1 - alphas[t]) * noise[b]
        clean = (noisy - math.sqrt(1 - alphas[t]) * output[b]) / math.sqrt(alphas[t])
        loss, squares = (output[b] - noise[b]).square().mean().item(), []
        height, width = clean.shape[-2:]
        for n, k in batch.is_visible[b].nonzero().tolist():
            x, y = batch.keypoints[b, n, k].tolist()
            at = clean[:, min(int(y * height), height - 1), min(int(x * width), width - 1)]
            squares += (batch.prompt_features[b, n, k] - at).square().tolist()
        keypoint = sum(squares) / len(squares) if t <= 333 else 0.0
        losses.append((loss, keypoint, loss + 0.5 * keypoint))
    return losses, alphas


def test_the_loss_is_its_equations(tmp_path):
    """Three samples, one of them above the gate: the scalar that is descended holds no more than the parts say."""
    pipe = tiny_pipeline()
    folder = save_triplets(tmp_path, sizes=((72, 64),) * 3, counts=(2, 2, 1))
    views = encode_triplets(pipe, read_triplets(folder), ViewOptions(64, center_crop=True), seed=0)
    batch = collate([view[0] for view in views])
    generator = torch.Generator().manual_seed(0)
    noise, posterior = (torch.randn(batch.latent_mean.shape, generator=generator) for _ in range(2))
    scheduler, seen = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012), {}
    pipe.unet.register_forward_hook(
        lambda module, args, kwargs, output: seen.update(noisy=args[0], output=output[0], kwargs=kwargs),
        with_kwargs=True,
    )
    with torch.no_grad():
        loss, parts = step_losses(pipe.unet, batch, noise, posterior, TIMESTEPS, scheduler, SETTINGS)
    expected, alphas = loops(batch, noise, posterior, seen["output"])
    for b, t in enumerate(TIMESTEPS.tolist()):
        latents = batch.latent_mean[b] + batch.latent_std[b] * posterior[b]
        noisy = math.sqrt(alphas[t]) * latents + math.sqrt(1 - alphas[t]) * noise[b]
        torch.testing.assert_close(seen["noisy"][b], noisy, atol=1e-5, rtol=1e-5)
    assert torch.equal(seen["kwargs"]["added_cond_kwargs"]["time_ids"], batch.time_ids)
    denoising, keypoint, whole = (list(column) for column in zip(*expected))
    assert keypoint[0] > 0 and keypoint[1] == 0
    assert parts["denoising"].tolist() == pytest.approx(denoising, rel=1e-5)
    assert parts["keypoint"].tolist() == pytest.approx(keypoint, rel=1e-4)
    assert parts["loss"].tolist() == pytest.approx(whole, rel=1e-4)
    assert loss.item() == pytest.approx(sum(whole) / 3, rel=1e-4)


@pytest.mark.parametrize("kind, last", [("epsilon", 1.0), ("v_prediction", 0.0), ("sample", 0.0)])
def test_min_snr_weights_at_zero_terminal_snr(kind, last):
    """min(SNR, γ)/SNR tends to 1 where SNR is zero; the other weights are zero there."""
    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear", prediction_type=kind, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    assert scheduler.alphas_cumprod[-1] == 0
    output, target = torch.zeros(2, 4, 2, 2), torch.ones(2, 4, 2, 2)
    found = denoising_loss(output, target, torch.tensor([999, 600]), scheduler, 5.0)
    alpha = scheduler.alphas_cumprod[600].item()
    snr = alpha / (1 - alpha)
    assert snr < 5
    expected = {"epsilon": 1.0, "v_prediction": snr / (snr + 1), "sample": snr}[kind]
    assert found.tolist() == pytest.approx([last, expected], rel=1e-5)


def test_the_target_is_what_the_scheduler_says():
    latents, noise, t = torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2), torch.tensor([100, 800])
    for kind in ("epsilon", "sample", "v_prediction"):
        scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind)
        alpha = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        expected = {"epsilon": noise, "sample": latents, "v_prediction": velocity}[kind]
        torch.testing.assert_close(prediction_target(scheduler, latents, noise, t), expected)


@torch.no_grad()
def test_mean_and_deviation_of_the_posterior_are_both_scaled():
    vae, pixels = tiny_vae(), image_prompt_pixels(photo(3, (64, 48)), 56)
    posterior = vae.encode(pixels).latent_dist
    mean, deviation = latent_posterior(vae, pixels)
    assert vae.config.scaling_factor == 0.18215
    torch.testing.assert_close(mean, 0.18215 * posterior.mean)
    torch.testing.assert_close(deviation, 0.18215 * posterior.std)
    assert deviation.min() > 0


def test_a_box_that_a_crop_cut_away_keeps_a_cell():
    boxes = torch.tensor([[0.0, 0.2, 0.0, 0.6], [1.0, 1.0, 1.0, 1.0], [0.2, 0.3, 0.6, 0.7], [0.5, 0.5, 0.51, 0.52]])
    expected = [[0.0, 0.2, 0.1, 0.6], [0.9, 0.75, 1.0, 1.0], [0.2, 0.3, 0.6, 0.7], [0.5, 0.5, 0.6, 0.75]]
    torch.testing.assert_close(with_area(boxes, 4, 10), torch.tensor(expected))


def test_the_objects_of_the_predicate_loss_are_the_union_of_the_masks(tmp_path):
    """Two halves of the width from 6 to 58 of 64 pixels of height: rows 1 to 7 of 8, whose first pixels are 8 to 56."""
    triplets = read_triplets(save_triplets(tmp_path, sizes=((64, 64),), counts=(2,)))
    ((view,),) = encode_triplets(tiny_pipeline(), triplets, ViewOptions(64, center_crop=True), seed=0)
    expected = torch.ones(1, 8, 8, dtype=torch.bool)
    expected[:, 0] = False
    assert torch.equal(view.objects, expected)
