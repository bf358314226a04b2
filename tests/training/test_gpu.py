"""The training programs on a GPU, in every precision. Skipped without one."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from relationbooth_pipeline import RelationBoothPipeline
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.training.conftest import adapter_arguments, encoder_arguments, relation_arguments
from tests.training.programs import ROOT
from training.common.checkpoints import Checkpoints

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
WEIGHTS = "pytorch_lora_weights.safetensors"
PRECISIONS = ("no", "fp16", "bf16")


def run(program: str, flags: list[str], device: str = "cuda") -> str:
    """What a program prints, in a process that imports torch anew: a fork cannot use CUDA."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": str(device == "cpu").lower()}
    command = [sys.executable, "-m", f"training.{program}", *flags]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def finite(path):
    weights = load_file(path)
    assert weights and all(torch.isfinite(tensor).all() for tensor in weights.values())
    return weights


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_relation_lora_is_that_of_the_cpu(base, triplets, tmp_path, precision):
    """A few steps in half precision end near those of float32 on the CPU."""
    few = {"max_train_steps": 3, "lr_scheduler": "constant", "gradient_checkpointing": True, "max_grad_norm": 1e9}
    few |= {"adam_epsilon": 1.0, "learning_rate": 1.0}  # Adam's step is almost the gradient then, and not its sign
    run("train_relation_lora_sdxl", relation_arguments(base, triplets, tmp_path / "cpu", **few), "cpu")
    flags = relation_arguments(base, triplets, tmp_path / "gpu", **few, mixed_precision=precision)
    run("train_relation_lora_sdxl", flags)
    expected, found = finite(tmp_path / "cpu" / WEIGHTS), finite(tmp_path / "gpu" / WEIGHTS)
    assert expected.keys() == found.keys()
    learned = [key for key in expected if ".up." in key]
    size = max(expected[key].abs().max() for key in learned)
    difference = max((expected[key].float() - found[key].float()).abs().max() for key in learned)
    assert size > 0 and difference / size < (0.01 if precision == "no" else 0.15)
    pipe = RelationBoothPipeline.from_pretrained(base, torch_dtype=torch.float16).to("cuda")
    pipe.load_relation_adapter(base, subfolder="relation_adapter")
    pipe.set_progress_bar_config(disable=True)
    without = generate(pipe, **TWO)
    pipe.load_lora_weights(tmp_path / "gpu", weight_name=WEIGHTS, adapter_name="relation")
    drawn = generate(pipe, **TWO)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, without)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_adapters_and_local_encoders_train(base, triplets, world, tmp_path, precision):
    adapter = adapter_arguments(base, triplets, tmp_path / "adapter", mixed_precision=precision)
    encoder = encoder_arguments(world, tmp_path / "encoder", mixed_precision=precision)
    run("train_relation_adapter_sdxl", adapter)
    run("train_local_image_encoder", encoder)
    files = [path for folder in ("adapter", "encoder") for path in (tmp_path / folder).rglob("*.safetensors")]
    assert len(files) >= 2 and all(finite(path) for path in files)


def test_a_run_resumes_on_the_gpu(base, triplets, tmp_path):
    """Gradient scaler included, which float16 alone has."""
    flags = relation_arguments(base, triplets, tmp_path, mixed_precision="fp16", max_train_steps=4)
    run("train_relation_lora_sdxl", flags)
    unbroken = finite(tmp_path / WEIGHTS)
    shutil.rmtree(Checkpoints(tmp_path).path(4))
    (tmp_path / WEIGHTS).unlink()
    told = run("train_relation_lora_sdxl", [*flags, "--resume_from_checkpoint", "latest"])
    assert "going on from step 2" in told
    for name, tensor in finite(tmp_path / WEIGHTS).items():
        torch.testing.assert_close(tensor, unbroken[name], atol=1e-3, rtol=1e-2)
