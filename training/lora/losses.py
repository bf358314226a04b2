"""Losses of RelationLoRA training, one function per equation.

Shape letters: B batch, N objects, K keypoints, C latent channels, h w latent grid, P = h·w
positions, T text tokens.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

AREA_OFFSET = 1e-5  # in the denominators of the predicate attention loss, as released (golden case `kml`)


def predict_clean_latents(
    noisy_latents: torch.Tensor,
    model_output: torch.Tensor,
    timesteps: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    prediction_type: str = "epsilon",
) -> torch.Tensor:
    """One-step estimate of the clean latents.

        ẑ_0 = (z_t − √(1−ᾱ_t) ε̂) / √ᾱ_t                                         (RelationBooth, Eq. 5; "epsilon")
        ẑ_0 = √ᾱ_t z_t − √(1−ᾱ_t) v̂                                             ("v_prediction")

    Args:
        noisy_latents, model_output: (B, C, h, w).
        timesteps: int, (B,).
        alphas_cumprod: ᾱ of every training timestep, (T,).
    Raises:
        ValueError: another prediction type.
    """
    alpha = alphas_cumprod.to(noisy_latents.device)[timesteps].to(noisy_latents.dtype).view(-1, 1, 1, 1)
    if prediction_type == "epsilon":
        return (noisy_latents - (1 - alpha).sqrt() * model_output) / alpha.sqrt()
    if prediction_type == "v_prediction":
        return alpha.sqrt() * noisy_latents - (1 - alpha).sqrt() * model_output
    if prediction_type == "sample":
        return model_output
    raise ValueError(
        f"`prediction_type` must be 'epsilon', 'v_prediction' or 'sample', got {prediction_type!r}. EDM-style and "
        "flow-matching schedulers are not supported."
    )


def keypoint_features(latents: torch.Tensor, keypoints: torch.Tensor) -> torch.Tensor:
    """Latent vectors at keypoints.

    Args:
        latents: (R, C, h, w).
        keypoints: [x, y] in [0, 1], (R, K, 2).
    Returns:
        (R, K, C). Cell = ⌊coordinate · size⌋; a coordinate of 1 lies in the last cell.
    Departs from the reference: x scales with the width and y with the height, and 1.0 does not overrun.
    """
    height, width = latents.shape[-2:]
    size = torch.tensor([width, height], device=keypoints.device)
    column, row = (keypoints.float() * size).long().clamp(min=0).minimum(size - 1).unbind(-1)
    flat = latents.flatten(2)
    index = (row * width + column)[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2)


def keypoint_matching_loss(
    predicted_latents: torch.Tensor,
    prompt_features: torch.Tensor,
    target_keypoints: torch.Tensor,
    is_visible: torch.Tensor,
) -> torch.Tensor:
    """Distance between the denoised image and each image prompt at matching keypoints.

        L_KML = mean over visible k and channels of ( E(c_i)[p_k] − ẑ_0[q_k] )²    (RelationBooth, Eq. 6, over C)

    Args:
        predicted_latents: ẑ_0, (B, C, h, w), scaled by the VAE factor.
        prompt_features: E(c_i)[p_k], scaled by the VAE factor: `keypoint_features` of each image prompt, (B, N, K, C).
            They never change, so training reads them once.
        target_keypoints: q_k of each object in the target image, [x, y] in [0, 1], (B, N, K, 2).
        is_visible: bool, (B, N, K): visible in both.
    Returns:
        One value per sample, (B,); zero when none of its keypoints is visible.
    Departs from the paper: divided by the channel count, as released (λ = 1e-3 refers to that).
    Departs from the released code: image prompts are read at their own keypoints (it reads a 4 × 4 corner only), and
    invisible keypoints do not count.
    """
    target = keypoint_features(predicted_latents, target_keypoints.flatten(1, 2)).view_as(prompt_features)
    # float32: half precision loses digits in a sum over hundreds of squares.
    return _mean_of_visible((target.float() - prompt_features.float()).square().mean(-1), is_visible)


def keypoint_denoising_loss(
    error: torch.Tensor, target_keypoints: torch.Tensor, is_visible: torch.Tensor
) -> torch.Tensor:
    """The denoising error where the target's keypoints lie: another way to care about keypoints (not in the paper).

        mean over visible k and channels of ( v̂[q_k] − v[q_k] )²

    Eq. 6 compares the same body part in two pictures, so a perfect prediction has a loss too, and is pulled away from.
    This one is least where the denoising loss is least.

    Args:
        error: the UNet's answer minus what it should be, (B, C, h, w).
        target_keypoints, is_visible: as for `keypoint_matching_loss`.
    Returns:
        One value per sample, (B,); zero when none of its keypoints is visible.
    """
    found = keypoint_features(error.float(), target_keypoints.flatten(1, 2))
    return _mean_of_visible(found.square().mean(-1).unflatten(1, target_keypoints.shape[1:3]), is_visible)


def _mean_of_visible(values: torch.Tensor, is_visible: torch.Tensor) -> torch.Tensor:
    """(B, N, K) → (B,)"""
    # Invisible keypoints may hold anything, infinity included: multiplying by zero would not remove it.
    visible = values.masked_fill(~is_visible, 0.0).flatten(1)
    return visible.sum(1) / is_visible.flatten(1).sum(1).clamp(min=1)


def timestep_gate(timesteps: torch.Tensor, max_timestep: int) -> torch.Tensor:
    """1 for samples whose timestep is at most `max_timestep`, else 0, (B,).

    The released code gates at 333, the paper does not gate: there pass the last timestep.
    """
    return (timesteps <= max_timestep).float()


def relation_loss(
    denoising_loss: torch.Tensor, terms: Sequence[torch.Tensor], weights: Sequence[float]
) -> torch.Tensor:
    """L = L_denoise + Σ λ_i L_i of each sample, (B,)        (RelationBooth, Eq. 7, there with L_KML alone)

    Args:
        denoising_loss, terms: one value per sample, (B,) each; what is gated or invisible counts as zero, so that
            several processes with equal batches average to the same number.
        weights: λ of each term; what has weight 0 may be anything, infinite too.
    """
    return denoising_loss + sum(weight * term for weight, term in zip(weights, terms) if weight)


def predicate_attention_loss(attention_maps: Sequence[torch.Tensor], object_masks: torch.Tensor) -> torch.Tensor:
    """Draws the predicate's text attention onto the objects.

        mean over layers of ( background mean − object mean )            (released code; not in the paper)

    Args:
        attention_maps: text attention of the predicate's tokens, averaged over tokens and heads, (B, h, w) each.
        object_masks: union of the objects, in [0, 1], (B, H, W).
    Returns:
        One value per sample, (B,).
    Departs from the released code: every layer's mask is resized from the original mask, not from the previous layer's.
    """
    values = []
    for attention in attention_maps:
        inside = F.interpolate(object_masks[:, None].float(), attention.shape[-2:])[:, 0]
        attention = attention.float()

        def mean(mask, attention=attention):
            return (attention * mask).sum((1, 2)) / (mask.sum((1, 2)) + AREA_OFFSET)

        values.append(mean(1 - inside) - mean(inside))
    return torch.stack(values).mean(0)
