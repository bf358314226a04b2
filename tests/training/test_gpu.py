"""The training programs on a GPU, in every precision. Skipped without one."""

import pytest
import torch
from safetensors.torch import load_file

from relationbooth_pipeline import RelationBoothPipeline
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.training.conftest import adapter_arguments, encoder_arguments, relation_arguments
from tests.training.programs import finish, start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
PRECISIONS = ("no", "fp16", "bf16")
ON_GPU = {"ACCELERATE_USE_CPU": "false"}


def finite(path):
    weights = load_file(path)
    assert weights and all(torch.isfinite(tensor).all() for tensor in weights.values())
    return weights


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_relation_lora_is_that_of_the_cpu(base, triplets, tmp_path, precision):
    """As Adam's first step has one length, a few steps in half precision end near those of float32 on the CPU."""
    few = {"max_train_steps": 3, "learning_rate": 1e-3, "lr_scheduler": "constant", "gradient_checkpointing": True}
    # Adam's step is almost the gradient then, and not its sign, which rounding decides where a gradient is near zero.
    few |= {"adam_epsilon": 1.0, "learning_rate": 1.0, "max_grad_norm": 1e9}
    finish(start("train_relation_lora_sdxl", relation_arguments(base, triplets, tmp_path / "cpu", **few)))
    flags = relation_arguments(base, triplets, tmp_path / "gpu", **few, mixed_precision=precision)
    assert "cuda" in finish(start("train_relation_lora_sdxl", flags, **ON_GPU))
    name = "pytorch_lora_weights.safetensors"
    expected, found = finite(tmp_path / "cpu" / name), finite(tmp_path / "gpu" / name)
    assert expected.keys() == found.keys()
    learned = [key for key in expected if ".up." in key]
    size = max(expected[key].abs().max() for key in learned)
    difference = max((expected[key].float() - found[key].float()).abs().max() for key in learned)
    assert size > 0 and difference / size < (0.01 if precision == "no" else 0.15)
    pipe = RelationBoothPipeline.from_pretrained(base, torch_dtype=torch.float16).to("cuda")
    pipe.load_relation_adapter(base, subfolder="relation_adapter")
    pipe.set_progress_bar_config(disable=True)
    without = generate(pipe, **TWO)
    pipe.load_lora_weights(tmp_path / "gpu", weight_name=name, adapter_name="relation")
    drawn = generate(pipe, **TWO)
    assert torch.isfinite(drawn).all() and not torch.equal(drawn, without)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_adapters_and_local_encoders_train(base, triplets, world, tmp_path, precision):
    adapter = adapter_arguments(base, triplets, tmp_path / "adapter", mixed_precision=precision)
    encoder = encoder_arguments(world, tmp_path / "encoder", mixed_precision=precision)
    finish(
        start("train_relation_adapter_sdxl", adapter, **ON_GPU), start("train_local_image_encoder", encoder, **ON_GPU)
    )
    files = [path for folder in ("adapter", "encoder") for path in (tmp_path / folder).rglob("*.safetensors")]
    assert len(files) >= 2 and all(finite(path) for path in files)


def test_a_run_resumes_on_the_gpu(base, triplets, tmp_path):
    """Gradient scaler included, which float16 alone has."""
    flags = relation_arguments(base, triplets, tmp_path, mixed_precision="fp16", max_train_steps=2)
    finish(start("train_relation_lora_sdxl", flags, **ON_GPU))
    more = relation_arguments(base, triplets, tmp_path, mixed_precision="fp16", max_train_steps=4)
    told = finish(start("train_relation_lora_sdxl", [*more, "--resume_from_checkpoint", "latest"], **ON_GPU))
    assert "going on from step 2" in told
