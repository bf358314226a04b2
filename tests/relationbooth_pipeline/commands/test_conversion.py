"""`relationbooth convert`: the released adapter and CLIPSelf's checkpoints."""

import json

import pytest
import torch
from typer.testing import CliRunner

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter
from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.relation_attention import cross_attention_layers
from tests.tiny import tiny_adapter, tiny_pipeline, tiny_unet


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Calls the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdxl")
    tiny_pipeline(adapter=False).save_pretrained(folder)
    return folder


def released_adapter(pipe):
    """MS-Diffusion's three groups with the numbers of a tiny adapter (the inverse of the conversion)."""
    names = (("query_proj.", "latent_proj."), ("query_norm.", "latent_norm."), (".attention.norm_tokens.", ".0.norm1."))
    names += ((".attention.norm_queries.", ".0.norm2."), (".attention.", ".0."), (".feed_forward.", ".1."))
    projector = {}
    for key, value in pipe.relation_adapter.resampler.state_dict().items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        projector[key] = value
    order = [name.removesuffix(".processor") for name in pipe.unet.attn_processors]
    layers = {}
    for path in cross_attention_layers(pipe.unet):
        layer = pipe.relation_adapter.layers[path.replace(".", "-")]
        for name in ("to_k", "to_v"):
            layers[f"{order.index(path)}.{name}_ip.weight"] = getattr(layer, name).weight.data
    background = pipe.relation_adapter.background_tokens.data
    return {"image_proj": projector, "ms_adapter": layers, "dummy_image_tokens": background}


def test_convert_released_adapter(run, sdxl, tmp_path):
    pipe = tiny_pipeline(local=False)
    wide = {"dim": 64, "depth": 1, "heads": 1, "dim_head": 64, "num_queries": 4}  # dim_head of every released file
    pipe.register_modules(relation_adapter=tiny_adapter(tiny_unet(), resampler_config=wide))
    torch.save(released_adapter(pipe), "ms_adapter.bin")
    told = json.loads(run("info", "ms_adapter.bin").output)
    assert told["kind"].startswith("MS-Diffusion adapter")
    result = run("convert", "ms_adapter.bin", "ours", "--unet", sdxl)
    assert result.exit_code == 0, result.output
    ours = RelationAdapter.from_pretrained(tmp_path / "ours").state_dict()
    for key, value in pipe.relation_adapter.state_dict().items():
        assert torch.equal(ours[key], value), key
    result = run("convert", "ms_adapter.bin", "ours", "--unet", sdxl)
    assert result.exit_code == 1 and "exists already" in result.output
    result = run("convert", "ms_adapter.bin", "sdxl")
    assert result.exit_code == 1 and "`cross_attention_dim` 64, but the UNet has 2048" in result.output, result.output
    assert not (tmp_path / "sdxl").exists()


def test_convert_open_clip_checkpoint(run, tmp_path):
    width, blocks = 64, 2
    state = {
        "class_embedding": torch.randn(width),
        "positional_embedding": torch.randn(5, width),
        "conv1.weight": torch.randn(width, 3, 14, 14),
        "proj": torch.randn(width, 16),
    }
    for name in ("ln_pre", "ln_post"):
        state |= {f"{name}.weight": torch.randn(width), f"{name}.bias": torch.randn(width)}
    for i in range(blocks):
        block = f"transformer.resblocks.{i}."
        shapes = {"ln_1": (width,), "ln_2": (width,), "attn.out_proj": (width, width)}
        shapes |= {"mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
        for name, shape in shapes.items():
            state[f"{block}{name}.weight"], state[f"{block}{name}.bias"] = torch.randn(shape), torch.randn(shape[0])
        state[f"{block}attn.in_proj_weight"] = torch.randn(3 * width, width)
        state[f"{block}attn.in_proj_bias"] = torch.randn(3 * width)
    torch.save({"epoch": 6, "state_dict": {f"module.visual.{k}": v for k, v in state.items()}}, "epoch_6.pt")
    result = run("convert", "epoch_6.pt", "local")
    assert result.exit_code == 0, result.output
    encoder = LocalImageEncoder.from_pretrained(tmp_path / "local")
    assert encoder(torch.randn(1, 3, 28, 28), grid=2).shape == (1, 4, width)
    torch.save({"weight": torch.randn(2)}, "other.pt")
    result = run("convert", "other.pt", "elsewhere")
    assert result.exit_code == 1 and "neither MS-Diffusion's adapter" in result.output
