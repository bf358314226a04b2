"""Every stage trains, resumes and draws its sample sheets on a GPU, without a tensor left on the CPU."""

import contextlib
from functools import partial

import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from training.miniature.judges import annotator, characters, pictures, scenes, towers
from training.miniature.judges.stage import train_judges
from training.miniature.stages import adapter, autoencoder, base, encoders
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

    def checked_run(trainer, *callbacks, run=Trainer.run):
        tensors = [*trainer.weights.values(), *trainer.average.values()]
        assert {tensor.device.type for tensor in tensors} == {"cuda"}
        return run(trainer, *callbacks)

    def few_scenes(count, *draw, draw_scenes=scenes.draw_scenes):
        return draw_scenes(min(count, SCENES), *draw)

    def judged(figures, answers, count):
        return figures(answers, 2)

    monkeypatch.setattr(Trainer, "run", checked_run)
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
            with PretendedGPU():
                assert train(tmp_path, plan) is True


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
