"""Every stage trains, resumes and draws its sample sheets on a GPU, without a tensor left on the CPU."""

import contextlib
from functools import partial

import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from training.miniature.judges import annotator, characters, pictures, scenes, towers
from training.miniature.judges.stage import train_judges
from training.miniature.optimization.step_graphs import to_device
from training.miniature.stages import adapter, autoencoder, base, encoders, training_loop
from training.miniature.stages.training_loop import Trainer, TrainingPlan

from ..pretended_gpu import PretendedGPU

AUTOCAST, SCENES = contextlib.nullcontext, 4
SIZES = {**dict.fromkeys(("characters", "pictures", "annotator"), {"batch": 4, "pool": 8}), "towers": {"groups": 1}}
STAGES = {
    "vae": lambda root, plan: autoencoder.train_vae(root / "vae", plan, AUTOCAST, statistics_images=4),
    "encoders": lambda root, plan: encoders.train_encoders(root / "encoders", plan, AUTOCAST, batch=3, checked=3),
    "base": lambda root, plan: base.train_base(root, plan, AUTOCAST, scenes=SCENES, batch=2),
    "adapter": lambda root, plan: adapter.train_adapter(
        root / "base" / "pipeline", root / "encoders" / "image_encoder", root / "adapter", plan, AUTOCAST,
        scenes=SCENES, batch=2,
    ),
    "decoder": lambda root, plan: autoencoder.train_decoder(root, plan, AUTOCAST),
    "judges": lambda root, plan: train_judges(root / "judges", vars(plan), SIZES),
}  # fmt: skip


def test_every_stage_trains_and_resumes_on_a_gpu(tmp_path, monkeypatch):
    """In the program's order, for some stages read what others wrote; a failure's traceback names the stage."""

    recorded = []

    def checked_run(trainer, *callbacks, run=Trainer.run):
        tensors = [*trainer.weights.values(), *trainer.average.values()]
        assert {tensor.device.type for tensor in tensors} == {"cuda"}
        return run(trainer, *callbacks)

    def pretended_graphs(*arguments):
        recorded.append(gpu)
        return gpu.recorded(*arguments)

    def few_scenes(count, *draw, draw_scenes=scenes.draw_scenes):
        return draw_scenes(min(count, SCENES), *draw)

    def judged(figures, answers, count, *models):
        return figures(answers, 2, *models)

    monkeypatch.setattr(Trainer, "run", checked_run)
    monkeypatch.setattr(training_loop, "StepGraphs", pretended_graphs)
    monkeypatch.setattr(autoencoder, "measure", partial(autoencoder.measure, count=2))
    monkeypatch.setattr(base, "SAMPLE_PROMPTS", base.SAMPLE_PROMPTS[:1])
    monkeypatch.setitem(base.GUIDANCE, "num_inference_steps", 2)
    monkeypatch.setattr(adapter, "sample_sheet", partial(adapter.sample_sheet, count=1))
    for module in (annotator, characters, pictures):
        monkeypatch.setattr(module, "draw_scenes", few_scenes)
    monkeypatch.setattr(pictures, "picture_figures", partial(judged, pictures.picture_figures))
    monkeypatch.setattr(towers, "tower_figures", partial(judged, towers.tower_figures))
    for train in STAGES.values():
        for steps in (1, 2):
            plan = TrainingPlan(steps, ema_decay=0.9, warmup_steps=1, device="cuda")
            with (gpu := PretendedGPU()):
                assert train(tmp_path, plan) is True
    assert len(recorded) == 4, "base and adapter are recorded as CUDA graphs"


def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    with PretendedGPU():
        layer, left = torch.nn.Linear(3, 4).to("cuda"), torch.ones(2, 3)
        output = layer(left.to("cuda"))
        assert output.device.type == "cuda" and output.cpu().device.type == "cpu"
        (output.cpu() * torch.ones(2, 4)).sum().backward()
        assert layer.weight.grad.device.type == "cuda"
        with pytest.raises(RuntimeError, match="left on the CPU"):
            layer(left)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device="cuda", generator=torch.Generator())
        with pytest.raises(TypeError, match="numpy"):
            output.detach().numpy()


def test_the_pretended_gpu_refuses_what_a_recording_refuses():
    with (gpu := PretendedGPU()):
        values = torch.ones(2).to("cuda")
        assert gpu.recorded(lambda batch: batch * 2, [])(values).device.type == "cuda"
        with pytest.raises(RuntimeError, match="reads a value"):
            gpu.recorded(torch.Tensor.item, [])(values.sum())
        with pytest.raises(RuntimeError, match="moves a tensor"):
            gpu.recorded(torch.Tensor.cpu, [])(values)
        assert values.sum().item() == 2


class TwoKinds:
    """A small regression whose every fourth batch is of another size, as the stage "base" has them."""

    def __init__(self, device):
        self.layers, self.device = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)).to(device), device

    def batch_of(self, step, rng):
        values = torch.tensor([[rng.gauss(0, 1) for _ in range(4)] for _ in range(3 if step % 4 else 5)])
        return {"values": to_device(values, self.device)}

    def loss_of(self, batch):
        error = (self.layers(batch["values"]) - batch["values"]).square().mean()
        return error, {"error": error.detach()}


def trained(folder, device, steps, **fields):
    torch.manual_seed(0)
    task = TwoKinds(device)
    plan = TrainingPlan(steps, ema_decay=0.9, warmup_steps=5, device=device, **fields)
    trainer = Trainer({"layers": task.layers}, plan, folder)
    assert trainer.run(task.loss_of, batch_of=task.batch_of) is True
    return {name: value.cpu() for name, value in {**trainer.weights, **trainer.average}.items()}


def test_batches_drawn_apart_train_as_losses_that_draw(tmp_path):
    torch.manual_seed(0)
    task, plan = TwoKinds("cpu"), TrainingPlan(12, ema_decay=0.9, warmup_steps=5)
    trainer = Trainer({"layers": task.layers}, plan, tmp_path / "one")
    trainer.run(lambda step, rng: task.loss_of(task.batch_of(step, rng)))
    expected = {**trainer.weights, **trainer.average}
    found = trained(tmp_path / "two", "cpu", 12)
    assert all(found[name].equal(value) for name, value in expected.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_recorded_training_is_that_of_plain_steps_and_resumes(tmp_path):
    plain = trained(tmp_path / "plain", "cuda", 40, cuda_graphs=False)
    recorded = trained(tmp_path / "recorded", "cuda", 40)
    on_cpu = trained(tmp_path / "cpu", "cpu", 40)
    trained(tmp_path / "resumed", "cuda", 20, constant_share=1.0)
    resumed = trained(tmp_path / "resumed", "cuda", 40)
    for name, value in plain.items():
        torch.testing.assert_close(recorded[name], value, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(on_cpu[name], value, atol=1e-3, rtol=1e-2)
        torch.testing.assert_close(resumed[name], value, atol=1e-5, rtol=1e-4)
