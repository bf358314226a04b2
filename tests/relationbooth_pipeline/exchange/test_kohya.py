"""Kohya-keyed twins: the same weights, the same picture, the same header, both ways."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from relationbooth_pipeline import miniature
from relationbooth_pipeline.exchange.kohya import kohya_name, read_kohya, write_both, write_kohya
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME as WEIGHT_NAME
from relationbooth_pipeline.relation_regions import read_relation_metadata
from tests.relationbooth_pipeline.commands.tiny_world import HUG, write_lora
from tests.tiny import tiny_pipeline, tiny_unet

HUGGING = miniature.path() / "relation_loras" / "hugging" / WEIGHT_NAME


@pytest.fixture(scope="module")
def plain():
    """A plain SDXL pipeline on the miniature, as other people have one."""
    pipe = StableDiffusionXLPipeline.from_pretrained(miniature.path())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, file=None):
    pipe.unload_lora_weights()
    if file is not None:
        pipe.load_lora_weights(str(file), adapter_name="one")
        pipe.set_adapters("one", 0.8)
    generator = torch.Generator().manual_seed(1)
    return np.asarray(pipe("a cat is hugging a bear", num_inference_steps=2, generator=generator).images[0]).astype(int)


def test_the_twin_draws_the_same_picture_and_says_the_same(plain, tmp_path):
    twin = tmp_path / kohya_name(HUGGING)
    assert twin.name == "hugging_kohya.safetensors"
    write_kohya(HUGGING, twin)
    ours, none = draw(plain, HUGGING), draw(plain)
    assert np.abs(draw(plain, twin) - ours).max() == 0 and np.abs(ours - none).mean() > 1
    assert read_relation_metadata(twin) == read_relation_metadata(HUGGING)
    keys = load_file(twin)
    assert {key.rpartition("_attn2_")[2].partition(".")[0] for key in keys} == {"to_q", "to_k", "to_v", "to_out_0"}
    assert all(key.startswith("lora_unet_") for key in keys)
    assert all(v.dtype is torch.float32 and v.ndim == 0 for k, v in keys.items() if k.endswith(".alpha"))
    with safe_open(twin, "pt") as file:
        header = file.metadata()
    assert header["ss_network_module"] == "networks.lora" and header["ss_network_dim"] == "4"
    assert "lora_adapter_metadata" not in header  # diffusers refuses it beside `.alpha`


def test_both_ways_give_the_same_weights(plain, tmp_path):
    write_kohya(HUGGING, tmp_path / "twin.safetensors")
    back = tmp_path / "back.safetensors"
    read_kohya(tmp_path / "twin.safetensors", back, plain.unet)
    assert read_relation_metadata(back) == read_relation_metadata(HUGGING)
    assert np.abs(draw(plain, back) - draw(plain, HUGGING)).max() == 0


def test_alpha_is_the_file_s_own(tmp_path):
    """W + alpha / r · B A, with alpha from PEFT's metadata one way and multiplied in the other way."""
    pipe = tiny_pipeline(adapter=False)
    write_lora(pipe.unet, tmp_path / "hug", HUG)
    source = tmp_path / "hug" / WEIGHT_NAME
    state = load_file(source)
    header = {"lora_adapter_metadata": '{"unet.r": 4, "unet.lora_alpha": 2}'}
    save_file(state, tmp_path / "half.safetensors", metadata=header)
    write_kohya(tmp_path / "half.safetensors", tmp_path / "twin.safetensors")
    twin = load_file(tmp_path / "twin.safetensors")
    assert {float(value) for key, value in twin.items() if key.endswith(".alpha")} == {2.0}
    read_kohya(tmp_path / "twin.safetensors", tmp_path / "back.safetensors", tiny_unet())
    back = load_file(tmp_path / "back.safetensors")
    downs = [key for key in back if ".lora_A." in key]
    assert len(downs) == len(back) // 2 == len(state) // 2
    for down in downs:
        path = down.removesuffix(".lora_A.weight")
        name = "lora_" + path.replace(".", "_")
        product = back[path + ".lora_B.weight"] @ back[down]
        rank = len(twin[name + ".lora_down.weight"])
        expected = 2.0 / rank * twin[name + ".lora_up.weight"] @ twin[name + ".lora_down.weight"]
        torch.testing.assert_close(product, expected)


def test_a_rank_stabilised_lora_keeps_its_strength(tmp_path):
    """W + alpha / √r · B A: kohya's programs divide by r."""
    pipe = tiny_pipeline(adapter=False)
    write_lora(pipe.unet, tmp_path / "hug", HUG)
    state = load_file(tmp_path / "hug" / WEIGHT_NAME)
    rank = len(next(tensor for key, tensor in state.items() if ".lora_A." in key))
    header = {"lora_adapter_metadata": f'{{"unet.r": {rank}, "unet.lora_alpha": 2, "unet.use_rslora": true}}'}
    save_file(state, tmp_path / "stable.safetensors", metadata=header)
    write_kohya(tmp_path / "stable.safetensors", tmp_path / "twin.safetensors")
    alphas = [float(value) for key, value in load_file(tmp_path / "twin.safetensors").items() if key.endswith(".alpha")]
    assert alphas == pytest.approx([2 * rank**0.5] * len(alphas)) and rank > 1
    down = next(key for key in state if ".lora_A." in key)
    save_file({down.replace("lora_A.weight", "lora_magnitude_vector"): torch.ones(4)}, tmp_path / "dora.safetensors")
    with pytest.raises(ValueError, match="lora_magnitude_vector`: only plain LoRAs of the UNet"):
        write_kohya(tmp_path / "dora.safetensors", tmp_path / "out.safetensors")


def test_a_folder_of_both_from_either(plain, tmp_path):
    for name, source in (("one", HUGGING), ("two", tmp_path / "one" / "hugging_kohya.safetensors")):
        (tmp_path / name).mkdir()
        assert write_both(source, tmp_path / name, plain.unet) == [WEIGHT_NAME, "hugging_kohya.safetensors"]
    one, two = (load_file(tmp_path / name / "hugging_kohya.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_refusals(tmp_path):
    weight = torch.zeros(4, 8)
    save_file({"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": weight}, tmp_path / "te.safetensors")
    with pytest.raises(ValueError, match="holds more than UNet layers"):
        read_kohya(tmp_path / "te.safetensors", tmp_path / "out.safetensors", tiny_unet())
    save_file({"text_encoder.layer.lora_A.weight": weight}, tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="only plain LoRAs of the UNet have a kohya-keyed twin"):
        write_kohya(tmp_path / "text.safetensors", tmp_path / "out.safetensors")
    write_kohya(HUGGING, tmp_path / "twin.safetensors")
    with pytest.raises(ValueError, match="does not fit the UNet: it has no layer"):
        read_kohya(tmp_path / "twin.safetensors", tmp_path / "out.safetensors", tiny_unet())
    assert not (tmp_path / "out.safetensors").exists()
