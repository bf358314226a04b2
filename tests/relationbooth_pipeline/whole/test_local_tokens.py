"""Local tokens as configuration: how many, how they join the image tokens, which encoder; saved with the adapter."""

import json

import pytest
import torch

from relationbooth_pipeline import LocalImageEncoder
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import VISION_WIDTH, photo, tiny_adapter, tiny_pipeline, tiny_unet, tiny_vision

RESAMPLER = {"dim": 32, "depth": 1, "heads": 4, "dim_head": 8, "num_queries": 4}
OTHER_WIDTH = 24


def pipeline_with(width=VISION_WIDTH, local_grid=4, **resampler):
    unet = tiny_unet()
    pipe = tiny_pipeline(adapter=False, unet=unet)
    pipe._register_relation_components(
        {
            "relation_adapter": tiny_adapter(unet, resampler_config={**RESAMPLER, **resampler}, local_grid=local_grid),
            "image_prompt_encoder": tiny_vision(),
            "local_image_encoder": tiny_vision(LocalImageEncoder, width=width, seed=5),
        }
    )
    return pipe


VARIANTS = [
    {"local_grid": 2},
    {"local_grid": 8},
    {"local_injection": "add"},
    {"local_injection": "linear"},
    {"width": OTHER_WIDTH, "local_embedding_dim": OTHER_WIDTH},
    {"width": OTHER_WIDTH, "local_embedding_dim": OTHER_WIDTH, "local_injection": "linear"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: " ".join(map(str, variant.values())))
def test_every_configuration_is_saved_with_the_adapter_and_acts(variant, tmp_path):
    pipe = pipeline_with(**variant)
    expected = generate(pipe, **TWO)
    pipe.save_relation_adapter(tmp_path / "adapter")
    fresh = tiny_pipeline(adapter=False)
    fresh.load_relation_adapter(tmp_path / "adapter")
    assert torch.equal(generate(fresh, **TWO), expected)
    fresh.load_relation_adapter(tmp_path / "adapter", local_image_encoder=None)
    assert not torch.allclose(generate(fresh, **TWO), expected)


@pytest.mark.parametrize(("saved", "claimed"), [("concat", "linear"), ("linear", "concat")])
def test_weights_of_another_injection_are_refused(saved, claimed, tmp_path):
    pipeline_with(local_injection=saved).save_relation_adapter(tmp_path / "adapter")
    config_file = tmp_path / "adapter" / "config.json"
    config = json.loads(config_file.read_text())
    config["resampler_config"]["local_injection"] = claimed
    config_file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="do not fit its config.*proj_local"):
        tiny_pipeline(adapter=False).load_relation_adapter(tmp_path / "adapter")


def test_a_local_encoder_of_another_width_is_refused(tmp_path):
    pipeline_with(OTHER_WIDTH, local_embedding_dim=OTHER_WIDTH).save_relation_adapter(tmp_path / "adapter")
    pipe = tiny_pipeline(adapter=False)
    with pytest.raises(ValueError, match=f"`local_image_encoder` must have width {OTHER_WIDTH}.*got {VISION_WIDTH}"):
        pipe.load_relation_adapter(tmp_path / "adapter", local_image_encoder=tiny_vision(LocalImageEncoder))


def test_kept_tokens_of_another_adapter_are_refused():
    encoded = pipeline_with(local_grid=2).encode_image_prompts([photo(0), photo(1)], TWO["phrases"])
    with pytest.raises(ValueError, match=r"reads 4·4 local tokens of width 32 per object, got 4 of width 32"):
        generate(pipeline_with(), **{**TWO, "image_prompts": encoded})
