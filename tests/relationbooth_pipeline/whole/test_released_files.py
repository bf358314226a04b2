"""Files as others publish them, loaded through the pipeline: MS-Diffusion's adapter, CLIP repositories, style LoRAs."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from relationbooth_pipeline import LocalImageEncoder
from tests.relationbooth_pipeline.test_relation_conversion import released_form
from tests.relationbooth_pipeline.test_relation_lora import FILE, make_lora
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import tiny_adapter, tiny_pipeline, tiny_text_config, tiny_tokenizer, tiny_unet, tiny_vision

# Head width of every released file; it is not in the weights.
RESAMPLER = {"dim": 64, "depth": 1, "heads": 1, "dim_head": 64, "num_queries": 4}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder with `ms_adapter.bin` and a whole CLIP repository in `clip/`; the pipeline that they came from."""
    folder, pipe = tmp_path_factory.mktemp("released"), tiny_pipeline(local=False)
    adapter = tiny_adapter(tiny_unet(), resampler_config=RESAMPLER, image_prompt_size=512)
    pipe.register_modules(relation_adapter=adapter)
    torch.save(released_form(adapter, pipe.unet), folder / "ms_adapter.bin")
    clip = CLIPModel(
        CLIPConfig(
            text_config=tiny_text_config(tiny_tokenizer()).to_dict(),
            vision_config=pipe.image_prompt_encoder.config.to_dict(),
            projection_dim=16,
        )
    )
    clip.vision_model.load_state_dict(pipe.image_prompt_encoder.vision_model.state_dict())
    clip.save_pretrained(folder / "clip")
    return folder, pipe


def load(released, pipe, **options):
    folder, _ = released
    pipe.load_relation_adapter(
        folder, weight_name="ms_adapter.bin", image_encoder=folder / "clip", local_image_encoder=None, **options
    )
    return pipe


def test_ms_diffusions_file_and_a_whole_clip_repository_draw_the_same(released):
    assert torch.equal(generate(load(released, tiny_pipeline(adapter=False)), **TWO), generate(released[1], **TWO))


def test_local_tokens_can_be_added_to_it(released):
    pipe = tiny_pipeline(adapter=False)
    pipe.load_relation_adapter(
        released[0],
        weight_name="ms_adapter.bin",
        image_encoder=released[0] / "clip",
        local_image_encoder=tiny_vision(LocalImageEncoder),
    )
    assert pipe.local_image_encoder is not None and pipe.relation_adapter.config.local_grid == 4


def test_it_takes_the_pipelines_dtype_and_follows_its_changes(released):
    pipe = load(released, tiny_pipeline(adapter=False).to(torch.bfloat16))
    parts = (pipe.relation_adapter, pipe.image_prompt_encoder)
    assert {part.dtype for part in parts} == {torch.bfloat16}
    half = generate(pipe, **TWO).float()
    pipe.to(torch.float32)
    assert {part.dtype for part in parts} == {torch.float32}
    whole, plain = generate(pipe, **TWO), generate(pipe)  # of the same rounded weights
    assert (half - whole).abs().mean() < 0.3 * (whole - plain).abs().mean()


def test_a_style_lora_in_another_tools_format_acts_beside_it(released, tmp_path):
    """kohya's names, with an alpha that halves the factor."""
    make_lora(tmp_path / "ours", metadata=None)
    state = {}
    for key, value in load_file(tmp_path / "ours" / FILE).items():
        path, _, matrix = key.removeprefix("unet.").rpartition(".lora_")
        name = f"lora_unet_{path.replace('.', '_')}"
        state[f"{name}.lora_{'down' if matrix.startswith('A') else 'up'}.weight"] = value
        state[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(state, tmp_path / "style.safetensors")
    pipe = load(released, tiny_pipeline(adapter=False))
    pipe.load_lora_weights(tmp_path / "style.safetensors", adapter_name="style")
    styled = generate(pipe, **TWO)
    pipe.unload_lora_weights()
    pipe.load_lora_weights(tmp_path / "ours", weight_name=FILE, adapter_name="ours")
    pipe.set_adapters("ours", 0.5)
    torch.testing.assert_close(styled, generate(pipe, **TWO), atol=1e-4, rtol=1e-4)
