"""Per-subject tuning and diffusers' IP-Adapter, with files as diffusers' scripts write them, on a tiny pipeline."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor2_0
from safetensors.torch import save_file

from relationbooth_pipeline.evaluation.systems import build_systems
from relationbooth_pipeline.evaluation.systems.ip_adapter import box_mask
from relationbooth_pipeline.evaluation.systems.subjects import load_word, prompt_with
from tests.tiny import TEXT_WIDTH, tiny_pipeline

from ..tiny_bench import pair
from .tiny_pipelines import GUIDANCE, SEEDS, attentions, bench, drawn, options, same, world  # noqa: F401


def test_dreambooth_loras_act_together_and_only_theirs(world, bench, options, tmp_path):
    case = bench.cases[0]
    (system,) = build_systems([f"dreambooth:{world / 'subjects'}"], options)
    system.prepare(bench, tmp_path)
    pipe = StableDiffusionXLPipeline.from_pretrained(world / "model")
    names = ("cat", "bear")
    for name in names:
        pipe.load_lora_weights(world / "subjects" / name, adapter_name=name)
    pipe.set_adapters(list(names), [1.0, 1.0])
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    prompt = "a sks cat is hugging a sks bear on the beach"
    expected = pipe(prompt, num_images_per_prompt=2, generator=generators, **GUIDANCE).images
    assert same(drawn(system, case, bench), [np.asarray(picture) for picture in expected])


def test_learned_words_stand_for_the_phrases(world, bench, options, tmp_path):
    case = bench.cases[0]
    (system,) = build_systems([f"textual-inversion:{world / 'subjects'}"], options)
    system.prepare(bench, tmp_path)
    with_words = drawn(system, case, bench)
    (plain,) = build_systems(["sdxl"], options)
    assert not same(with_words, drawn(plain, case, bench))
    pipe = system.loaded.pipe
    word = load_word(pipe, world / "subjects" / "cat")
    for tokenizer, encoder, seed in (
        (pipe.tokenizer, pipe.text_encoder, 0),
        (pipe.tokenizer_2, pipe.text_encoder_2, 1),
    ):
        (number,) = tokenizer(word, add_special_tokens=False).input_ids
        expected = torch.randn(TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(encoder.get_input_embeddings().weight[number], expected)


def test_custom_diffusion_is_there_for_its_own_pictures_alone(world, bench, options, tmp_path):
    case, folder = bench.cases[0], tmp_path / "custom" / "cat+bear"
    for name in ("cat", "bear"):
        shutil.copytree(world / "subjects" / name, folder / name)
    unet = tiny_pipeline().unet
    torch.manual_seed(7)
    changed = dict(attentions(unet).items())
    processors = {}
    for name in unet.attn_processors:
        layer = dict(unet.named_modules())[name.removesuffix(".processor")]
        trained = layer in changed.values()
        processors[name] = CustomDiffusionAttnProcessor2_0(
            train_kv=trained,
            train_q_out=False,
            hidden_size=layer.to_k.out_features if trained else None,
            cross_attention_dim=layer.to_k.in_features if trained else None,
        )
    unet.set_attn_processor(processors)
    unet.save_attn_procs(folder, weight_name="pytorch_custom_diffusion_weights.safetensors", safe_serialization=True)
    (system,) = build_systems([f"custom-diffusion:{folder.parent}"], options)
    system.prepare(bench.limited(1), tmp_path)
    stock = dict(system.loaded.pipe.unet.attn_processors)
    pictures = drawn(system, case, bench)
    assert dict(system.loaded.pipe.unet.attn_processors) == stock
    words = [f"{load_word(system.loaded.pipe, folder / name)} {name}" for name in ("cat", "bear")]
    assert not same(pictures, [np.asarray(p) for p in system.loaded.call([prompt_with(case, words)], [SEEDS])[0]])
    with pytest.raises(ValueError, match="lacks 1 file.s.: .*pytorch_custom_diffusion_weights"):
        system.prepare(bench, tmp_path)  # of the single cases


def test_ip_adapter_places_each_photo_in_its_box(bench, options, tmp_path):
    pipe, state = tiny_pipeline(), {}
    generator = torch.Generator().manual_seed(3)
    tokens, width = 4, 2 * TEXT_WIDTH  # four tokens: a plain IP-Adapter's number
    for name, shape in (("proj.weight", (tokens * width, 16)), ("proj.bias", (tokens * width,))):
        state[f"image_proj.{name}"] = torch.randn(shape, generator=generator)
    state |= {"image_proj.norm.weight": torch.ones(width), "image_proj.norm.bias": torch.zeros(width)}
    for number, layer in enumerate(attentions(pipe.unet).values()):
        for name in ("to_k_ip", "to_v_ip"):
            shape = (layer.to_k.out_features, width)
            state[f"ip_adapter.{2 * number + 1}.{name}.weight"] = torch.randn(shape, generator=generator)
    save_file(state, tmp_path / "ip.safetensors")
    pipe.image_prompt_encoder.save_pretrained(tmp_path / "image_encoder")
    (system,) = build_systems([f"ip-adapter:{tmp_path / 'ip.safetensors'}"], options)
    system.prepare(bench, tmp_path)
    case = bench.cases[0]
    both = drawn(system, case, bench)
    (plain,) = build_systems(["sdxl"], options)
    assert not same(both, drawn(plain, case, bench))
    system.scale = 0.0
    assert same(drawn(system, case, bench), drawn(plain, case, bench))
    system.scale = 0.6
    assert same(drawn(system, case, bench), both)
    exchanged = replace(case, generate_with=(1, 1))  # the bear's photo alone is another
    assert not same(drawn(system, exchanged, bench), both)


def test_files_of_objects_that_are_missing_are_named_before_anything_loads(world, bench, options, tmp_path):
    (system,) = build_systems([f"textual-inversion:{tmp_path}"], options)
    with pytest.raises(ValueError, match="lacks 4 file.s.: .*cat/learned_embeds.safetensors"):
        system.prepare(bench, tmp_path)


def test_phrases_are_replaced_where_they_stand():
    case = pair(prompt="a black cat hugs a cat", phrases=("cat", "black cat"))
    assert prompt_with(case, ["<one>", "<two>"]) == "a <two> hugs a <one>"


def test_a_mask_is_white_in_its_box():
    mask = np.asarray(box_mask((0.25, 0.5, 0.75, 1.0), 8, 16))
    assert mask.shape == (8, 16) and (mask[4:, 4:12] == 255).all() and mask.sum() == 255 * 4 * 8
