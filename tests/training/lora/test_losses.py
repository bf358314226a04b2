import pytest
import torch
from diffusers import DDPMScheduler

from training.lora.losses import (
    keypoint_denoising_loss,
    keypoint_features,
    keypoint_matching_loss,
    predicate_attention_loss,
    predict_clean_latents,
    relation_loss,
    timestep_gate,
)


def sample(batch=2, objects=2, count=5, size=(6, 9)):
    generator = torch.Generator().manual_seed(0)
    shape = (batch, objects, count)
    latents = torch.randn(batch, 4, *size, generator=generator)
    prompts = torch.randn(batch, objects, 4, 8, 7, generator=generator)
    target, prompt = (torch.rand(*shape, 2, generator=generator) for _ in range(2))
    return latents, prompts, target, prompt, torch.rand(shape, generator=generator) > 0.4


def loss_of(latents, prompts, target, prompt, visible):
    features = keypoint_features(prompts.flatten(0, 1), prompt.flatten(0, 1)).unflatten(0, prompt.shape[:2])
    return keypoint_matching_loss(latents, features, target, visible)


def test_it_matches_plain_loops():
    latents, prompts, target, prompt, visible = sample()
    losses = loss_of(latents, prompts, target, prompt, visible)
    for b in range(2):
        squares = []
        for n in range(2):
            for k in range(5):
                if visible[b, n, k]:
                    q = latents[b, :, int(target[b, n, k, 1] * 6), int(target[b, n, k, 0] * 9)]
                    p = prompts[b, n, :, int(prompt[b, n, k, 1] * 8), int(prompt[b, n, k, 0] * 7)]
                    squares += (p - q).square().tolist()
        torch.testing.assert_close(losses[b].item(), sum(squares) / len(squares))


def test_gradient_is_at_visible_keypoints_only():
    latents, prompts, target, prompt, visible = sample()
    latents.requires_grad_()
    loss_of(latents, prompts, target, prompt, visible).sum().backward()
    expected = torch.zeros(2, 6, 9, dtype=torch.bool)
    for b, n, k in visible.nonzero().tolist():
        expected[b, int(target[b, n, k, 1] * 6), int(target[b, n, k, 0] * 9)] = True
    assert torch.equal(latents.grad.abs().sum(1) > 0, expected)


def test_the_denoising_error_at_keypoints_matches_plain_loops():
    error, _, target, _, visible = sample()
    losses = keypoint_denoising_loss(error, target, visible)
    for b in range(2):
        places = [
            (int(y * 6), int(x * 9)) for (x, y), seen in zip(target[b].flatten(0, 1), visible[b].flatten()) if seen
        ]
        expected = torch.stack([error[b, :, row, column].square().mean() for row, column in places]).mean()
        torch.testing.assert_close(losses[b], expected)


def test_a_perfect_prediction_has_a_matching_loss_and_no_denoising_error_at_keypoints():
    """Why there is a choice: the other picture's body part is another latent."""
    latents, prompts, target, prompt, visible = sample()
    assert loss_of(latents, prompts, target, prompt, visible).min() > 0.5
    still = torch.zeros_like(latents, requires_grad=True)
    loss = keypoint_denoising_loss(still, target, visible)
    loss.sum().backward()
    assert loss.tolist() == [0, 0] and still.grad.abs().max() == 0


def test_what_is_not_seen_may_hold_anything():
    error, _, target, _, visible = sample()
    seen = visible.clone()
    seen[:] = False
    seen[0, 0, 0] = True
    row, column = int(target[0, 0, 0, 1] * 6), int(target[0, 0, 0, 0] * 9)
    spoilt = torch.full_like(error, float("inf"))
    spoilt[0, :, row, column] = error[0, :, row, column]
    found = keypoint_denoising_loss(spoilt, target, seen).tolist()
    assert found == [pytest.approx(error[0, :, row, column].square().mean().item()), 0]


def test_nothing_visible_is_zero_with_zero_gradient():
    latents, prompts, target, prompt, visible = sample()
    latents.requires_grad_()
    loss = loss_of(latents, prompts, target, prompt, visible & False)
    loss.sum().backward()
    assert loss.tolist() == [0, 0] and latents.grad.abs().max() == 0


def test_invisible_keypoints_may_be_anything():
    latents, prompts, target, prompt, visible = sample()
    expected = loss_of(latents, prompts, target, prompt, visible)
    target[~visible], prompt[~visible] = 1.0, 0.0
    assert torch.equal(loss_of(latents, prompts, target, prompt, visible), expected)


def test_bounds_lie_in_the_first_and_last_cell():
    latents = torch.arange(12.0).view(1, 1, 3, 4)
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    assert keypoint_features(latents, corners).flatten().tolist() == [0, 3, 8, 11]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_perfect_prediction_gives_the_clean_latents(prediction_type):
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    clean, noise, t = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6), torch.tensor([0, 300, 900])
    noisy = scheduler.add_noise(clean, noise, t)
    target = {"epsilon": noise, "v_prediction": scheduler.get_velocity(clean, noise, t), "sample": clean}
    found = predict_clean_latents(noisy, target[prediction_type], t, scheduler.alphas_cumprod, prediction_type)
    torch.testing.assert_close(found, clean, atol=1e-4, rtol=1e-4)


def test_other_prediction_types_are_refused():
    with pytest.raises(ValueError, match="'epsilon', 'v_prediction' or 'sample', got 'flow'. EDM-style"):
        predict_clean_latents(*[torch.zeros(1, 4, 2, 2)] * 2, torch.tensor([0]), torch.ones(10), "flow")


def test_equal_shares_of_a_batch_average_to_the_whole():
    denoising, keypoint, gate = torch.rand(4), torch.rand(4), torch.tensor([1.0, 0, 1, 0])
    whole = relation_loss(denoising, [gate * keypoint], [0.1]).mean()
    halves = [relation_loss(denoising[i], [gate[i] * keypoint[i]], [0.1]).mean() for i in (slice(2), slice(2, 4))]
    torch.testing.assert_close(whole, sum(halves) / 2)


def test_the_loss_is_the_weighted_sum_and_weight_zero_leaves_a_term_out():
    """Also an infinite one: at zero terminal SNR the clean estimate is."""
    terms = [torch.tensor([2.0, 0.0]), torch.tensor([float("inf"), 1.0]), torch.tensor([1.0, 3.0])]
    assert relation_loss(torch.tensor([1.0, 5.0]), terms, [0.5, 0.0, 2.0]).tolist() == [4.0, 11.0]


def test_the_gate_includes_its_last_timestep():
    assert timestep_gate(torch.tensor([0, 333, 334, 999]), 333).tolist() == [1, 1, 0, 0]


def test_attention_on_the_objects_is_rewarded():
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    on, off = mask[:, ::2, ::2], 1 - mask[:, ::2, ::2]
    torch.testing.assert_close(predicate_attention_loss([on, off], mask), torch.zeros(1))
    torch.testing.assert_close(predicate_attention_loss([on], mask), -torch.ones(1), atol=1e-5, rtol=0)
