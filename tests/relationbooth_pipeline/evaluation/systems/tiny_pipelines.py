"""A tiny pipeline's folder with a RelationLoRA and files of two objects, and what systems draw with it."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from relationbooth_pipeline.evaluation.systems import Order, SystemOptions, noise_seed
from relationbooth_pipeline.generation.settings import GenerationSettings
from relationbooth_pipeline.relation_attention import cross_attention_layers
from relationbooth_pipeline.relation_images import open_image
from tests.relationbooth_pipeline.commands.tiny_world import HUG, write_lora
from tests.tiny import TEXT_WIDTH, tiny_pipeline

from ..tiny_bench import write_bench

SEEDS = [noise_seed("pair-0", number) for number in range(2)]
GUIDANCE = {"num_inference_steps": 3, "guidance_scale": 4.0, "guidance_rescale": 0.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    pipe = tiny_pipeline()
    pipe.save_relation_adapter(root / "model" / "relation_adapter")
    pipe.unload_relation_adapter()
    pipe.save_pretrained(root / "model")
    write_lora(pipe.unet, root / "model" / "relation_loras" / "hug", HUG)
    for name in ("cat", "bear"):
        write_lora(pipe.unet, root / "subjects" / name, HUG)
        for number, file in enumerate(("learned_embeds.safetensors", "learned_embeds_2.safetensors")):
            generator = torch.Generator().manual_seed(number)
            save_file({"<new>": torch.randn(TEXT_WIDTH, generator=generator)}, root / "subjects" / name / file)
    return root


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def options(world):
    settings = GenerationSettings(
        prompt="any",
        seed=0,
        model=str(world / "model"),
        steps=3,
        guidance_scale=4.0,
        image_prompt_scale=1.0,
        device="cpu",
    )
    settings.checked()
    return SystemOptions(settings, late_start=1)


def drawn(system, case, bench):
    system.load()
    ((*pictures,),) = system.draw([order_of(case, bench)])
    return [np.asarray(picture) for picture in pictures]


def order_of(case, bench):
    return Order(case, [open_image(path) for path in bench.image_prompts(case)], SEEDS)


def same(first, second):
    return all((a == b).all() for a, b in zip(first, second))


def attentions(unet):
    """Path → attention module of every text cross-attention."""
    modules = dict(unet.named_modules())
    return {path: modules[path] for path in cross_attention_layers(unet)}
