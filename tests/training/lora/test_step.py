import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig

from benchmarks.variants import SIZES
from relationbooth_pipeline.relation_attention import cross_attention_layers
from relationbooth_pipeline.relation_rows import ImagePromptStates
from relationbooth_pipeline.triplets import read_triplets
from tests.tiny import tiny_pipeline
from tests.tiny_training import save_triplets
from training.common.batch_order import Draw, noise_and_timesteps
from training.common.diffusion import denoising_loss, training_scheduler
from training.common.options import ViewOptions
from training.lora.cache import collate, encode_triplets
from training.lora.loss_terms import LossSettings
from training.lora.step import PredicateAttention, lora_parameter_count, lora_target_modules, step_losses

SETTINGS = LossSettings(kml_weight=0.1, predicate_attention_weight=0.1)


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_pipeline()
    pipe.unet.requires_grad_(False)
    torch.manual_seed(0)
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=lora_target_modules(pipe.unet)))
    for name, p in pipe.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)  # zero at first, which would hide the gradient of lora_A
    return pipe


@pytest.fixture(scope="module")
def views(pipe, tmp_path_factory):
    folder = save_triplets(tmp_path_factory.mktemp("triplets"), sizes=((64, 64),) * 4, counts=(2, 1, 2, 2))
    return [v[0] for v in encode_triplets(pipe, read_triplets(folder), ViewOptions(64), seed=0)]


@pytest.fixture(scope="module")
def scheduler(pipe):
    return training_scheduler(pipe.scheduler.config)


def gradients(pipe, views, scheduler, first=0, settings=SETTINGS):
    """(loss, {name: gradient}, parts) of a batch whose noise depends on each sample's place in the whole."""
    batch = collate(views)
    noise = noise_and_timesteps([Draw(0, 0, first + i) for i in range(len(views))], batch.latent_mean.shape[1:], 1000)
    pipe.unet.zero_grad()
    attention = PredicateAttention(pipe.unet)
    loss, parts = step_losses(pipe.unet, batch, *noise, scheduler, settings, attention)
    loss.backward()
    attention.remove()
    return loss.item(), {n: p.grad.clone() for n, p in pipe.unet.named_parameters() if p.grad is not None}, parts


def test_only_the_lora_of_text_attention_trains(pipe, views, scheduler):
    _, found, _ = gradients(pipe, views, scheduler)
    assert {name.rsplit(".", 3)[0] for name in found} == set(lora_target_modules(pipe.unet))
    assert all(gradient.abs().max() > 0 for gradient in found.values())


def test_two_half_batches_average_to_the_whole(pipe, views, scheduler):
    """What several processes or accumulated batches compute together, also when a sample has fewer objects."""
    loss, whole, _ = gradients(pipe, views, scheduler)
    halves = [gradients(pipe, views[i : i + 2], scheduler, first=i) for i in (0, 2)]
    assert loss == pytest.approx(sum(half[0] for half in halves) / 2, rel=1e-5)
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, sum(half[1][name] for half in halves) / 2, atol=1e-6, rtol=1e-4)


def test_gradient_checkpointing_changes_nothing(pipe, views, scheduler):
    _, plain, _ = gradients(pipe, views, scheduler)
    pipe.unet.train()  # checkpointing acts in training mode only; there is no dropout
    pipe.unet.enable_gradient_checkpointing()
    try:
        _, checkpointed, _ = gradients(pipe, views, scheduler)
    finally:
        pipe.unet.disable_gradient_checkpointing()
        pipe.unet.eval()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-7, rtol=1e-5)


def test_parts_add_up(pipe, views, scheduler):
    loss, _, parts = gradients(pipe, views, scheduler)
    each = parts["denoising"] + 0.1 * parts["keypoint"] + 0.1 * parts["predicate"]
    torch.testing.assert_close(parts["loss"], each)
    assert loss == pytest.approx(each.mean().item(), rel=1e-5)
    assert parts["keypoint"].min() > 0 and parts["predicate"].abs().min() > 0


def test_the_gate_is_per_sample(pipe, views, scheduler):
    batch = collate(views[:2])
    noise = torch.randn(2, *batch.latent_mean.shape[1:], generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([100, 900])
    for limit, expected in ((333, [True, False]), (None, [True, True]), (50, [False, False])):
        settings = LossSettings(kml_max_timestep=limit)
        _, parts = step_losses(pipe.unet, batch, noise, noise * 0, timesteps, scheduler, settings)
        assert (parts["keypoint"] > 0).tolist() == expected


@pytest.mark.parametrize("limit", [333, None])
def test_a_perfect_answer_loses_nothing_by_the_denoising_error_at_keypoints(pipe, views, scheduler, limit):
    """The matching loss still pulls: the choice between both is heard, and the gate holds for either."""
    batch = collate(views[:2])
    noise = torch.randn(2, *batch.latent_mean.shape[1:], generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([100, 900])
    right = {"epsilon": noise, "v_prediction": scheduler.get_velocity(batch.latent_mean, noise, timesteps)}
    answer = right[scheduler.config.prediction_type]
    found = {}
    for name, said in (("perfect", answer), ("wrong", answer + 2)):
        for loss in ("matching", "denoising"):
            settings = LossSettings(keypoint_loss=loss, kml_max_timestep=limit)
            unet = lambda *inputs, said=said, **kwargs: (said,)  # noqa: E731
            _, parts = step_losses(unet, batch, noise, noise * 0, timesteps, scheduler, settings)
            found[name, loss] = parts["keypoint"]
    torch.testing.assert_close(found["perfect", "denoising"], torch.zeros(2))
    expected = torch.tensor([4.0, 0.0 if limit else 4.0])  # (answer + 2 − answer)² wherever it is read
    torch.testing.assert_close(found["wrong", "denoising"], expected)
    assert (found["perfect", "matching"] > 0).tolist() == [True, limit is None]


def test_predicate_maps_equal_explicit_attention(pipe, views):
    """Against softmax(QKᵀ/√d) of every layer, written out."""
    batch, unet = collate(views[:2]), pipe.unet
    queries = {}

    def keep(path):
        return lambda module, inputs, output: queries.__setitem__(path, output)

    paths = list(cross_attention_layers(unet))
    handles = [unet.get_submodule(f"{path}.to_q").register_forward_hook(keep(path)) for path in paths]
    spans = torch.tensor([[3, 5], [1, 2]])
    order = []
    handles += [
        unet.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: order.append(path)) for path in paths
    ]
    attention = PredicateAttention(unet)
    attention.start(spans, batch.size)
    unet(
        batch.latent_mean,
        torch.tensor([500, 500]),
        encoder_hidden_states=batch.text,
        added_cond_kwargs={"text_embeds": batch.pooled, "time_ids": batch.time_ids},
        cross_attention_kwargs={"ip_hidden_states": ImagePromptStates(batch.ip_hidden_states, batch.ip_adapter_masks)},
    )
    attention.remove()
    for handle in handles:
        handle.remove()
    assert len(attention.maps) == len(order) == len(paths)
    for found, path in zip(attention.maps, order):
        attn = unet.get_submodule(path)
        query, key = queries[path], attn.to_k(batch.text)
        for sample, (start, end) in enumerate(spans.tolist()):
            expected = 0
            for head in range(attn.heads):
                width = query.shape[-1] // attn.heads
                part = slice(head * width, (head + 1) * width)
                scores = query[sample, :, part] @ key[sample, :, part].T / width**0.5
                expected = expected + scores.softmax(-1)[:, start:end].mean(-1) / attn.heads
            torch.testing.assert_close(found[sample].flatten(), expected, atol=1e-6, rtol=1e-4)
    assert not any(unet.get_submodule(path)._forward_hooks for path in paths)


def test_sdxl_has_3_1_million_lora_weights():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SIZES["full"].unet)
    assert lora_parameter_count(unet, rank=4) == 3_143_680  # 60 layers of 1280 and 10 of 640, 12.6 MB
    assert len(lora_target_modules(unet)) == 4 * 70


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weights(kind):
    """min(SNR, γ)/SNR for epsilon, over SNR + 1 for v (Hang et al., 2023)."""
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind)
    timesteps = torch.tensor([5, 500, 990])
    output, target = torch.zeros(3, 4, 2, 2), torch.ones(3, 4, 2, 2)
    alpha = scheduler.alphas_cumprod[timesteps]
    snr = alpha / (1 - alpha)
    expected = snr.clamp(max=5) / (snr if kind == "epsilon" else snr + 1)
    torch.testing.assert_close(denoising_loss(output, target, timesteps, scheduler, 5.0), expected)
    assert denoising_loss(output, target, timesteps, scheduler, None).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "EDMEulerScheduler", "prediction_type": "epsilon"},
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"_class_name": "EulerDiscreteScheduler", "prediction_type": "edm"},
    ],
)
def test_edm_and_flow_matching_are_refused(config):
    with pytest.raises(ValueError, match="must be trained on epsilon, v_prediction or sample, got"):
        training_scheduler(config)
