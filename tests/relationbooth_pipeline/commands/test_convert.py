"""`relationbooth convert`: the released adapter and CLIPSelf's checkpoints."""

import argparse
import json
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter
from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.relation_attention import cross_attention_layers
from tests.relationbooth_pipeline.commands.tiny_world import HUG, write_lora
from tests.tiny import photo, tiny_adapter, tiny_pipeline, tiny_unet


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


def written(name, folder):
    """A file that somebody may take for a checkpoint."""
    path = folder / name
    if name.startswith("pickle"):
        torch.save({"args": argparse.Namespace(a=1), "weight": torch.zeros(1)}, path)
    elif name.startswith("picture"):
        photo().save(path, format=name.removeprefix("picture_").partition(".")[0])
    elif name.startswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "x")
    elif name.startswith("lora"):
        save_file({"unet.x.lora_A.weight": torch.zeros(2, 4), "unet.x.lora_B.weight": torch.zeros(4, 2)}, path)
    else:
        path.write_bytes(
            {"page": b"<html><body>", "lfs": b"version https://git-lfs", "text": b"hi", "empty": b""}[name]
        )
    return path


@pytest.mark.parametrize(
    "name, message",
    [
        ("picture_PNG.bin", "but is a PNG picture."),
        ("picture_JPEG.png", "but is a JPEG picture."),
        ("picture_WEBP.pt", "but is a WEBP picture."),
        ("zip.ckpt", "but is a ZIP archive (unpack it)."),
        ("page", "but is a web page, not the file itself (download it again)."),
        ("lfs", "but is a Git LFS pointer"),
        ("text", "but is something else."),
        ("empty", "but is an empty file (download it again)."),
        ("lora.safetensors", "does not fit the UNet: it has no layer `x`"),
        ("pickle.pt", "cannot be read safely: it holds argparse.Namespace; only tensors are read"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_called_what_it_is(run, tmp_path, name, message):
    result = run("convert", written(name, tmp_path), "ours")
    assert result.exit_code == 1 and message in result.output, result.output
    assert "weights_only" not in result.output and "Traceback" not in result.output
    assert not (tmp_path / "ours").exists()


def test_the_new_folder_is_checked_before_the_checkpoint_is_read(run, tmp_path, monkeypatch):
    monkeypatch.setattr("relationbooth_pipeline.relation_files.read_checkpoint", lambda path: 1 / 0)
    torch.save({}, tmp_path / "x.pt")
    for output, message in (("a" * 300, "cannot have this name"), ("no/ours", "does not exist"), ("x.pt", "exists")):
        result = run("convert", "x.pt", output)
        assert result.exit_code == 1 and message in result.output, result.output
    result = run("convert", tmp_path, "ours")
    assert result.exit_code == 1 and "is a folder. Name the checkpoint file" in result.output, result.output


def test_convert_a_relation_lora_there_and_back(run, tmp_path):
    """Ours → a folder of both files; the twin alone → the same folder, with the relation in its header."""
    from relationbooth_pipeline.relation_regions import read_relation_metadata

    pipe = tiny_pipeline(adapter=False)
    pipe.save_pretrained("sdxl")
    write_lora(pipe.unet, tmp_path / "hug", HUG)
    for source, output in (("hug/pytorch_lora_weights.safetensors", "one"), ("one/hug_kohya.safetensors", "two")):
        result = run("convert", source, output, "--unet", "sdxl")
        assert result.exit_code == 0 and "hug_kohya.safetensors for ComfyUI" in result.output, result.output
        assert sorted(path.name for path in (tmp_path / output).iterdir()) == [
            "hug_kohya.safetensors",
            "pytorch_lora_weights.safetensors",
        ]
        assert read_relation_metadata(tmp_path / output / "pytorch_lora_weights.safetensors") == HUG
    result = run("convert", "one/hug_kohya.safetensors", "three", "--image-encoder", "some/encoder")
    assert result.exit_code == 1 and "belongs to adapters" in result.output


def test_convert_a_pickled_lora(run, tmp_path):
    """Older programs wrote such ones. The same two files come of it, but for the header, which a pickle has not."""
    pipe = tiny_pipeline(adapter=False)
    pipe.save_pretrained("sdxl")
    file = write_lora(pipe.unet, tmp_path / "hug", HUG)
    assert run("convert", file, "plain", "--unet", "sdxl").exit_code == 0
    ours, twin = load_file("plain/pytorch_lora_weights.safetensors"), load_file("plain/hug_kohya.safetensors")
    for name, state in (("ours", ours), ("kohya", twin)):
        strided = {k: v.t().contiguous().t() if v.ndim == 2 else v for k, v in state.items()}
        torch.save(strided, f"{name}.pt")
        result = run("convert", f"{name}.pt", f"from_{name}", "--unet", "sdxl")
        assert result.exit_code == 0 and f"{name}_kohya.safetensors for ComfyUI" in result.output, result.output
        written = (load_file(f"from_{name}/pytorch_lora_weights.safetensors"), ours)
        for found, expected in (written, (load_file(f"from_{name}/{name}_kohya.safetensors"), twin)):
            assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
        for other in ({"epoch": 5}, {5: torch.zeros(1)}):
            torch.save({**state, **other}, f"{name}.pt")
            result = run("convert", f"{name}.pt", "other", "--unet", "sdxl")
            message = f"`{name}.pt` holds more than named tensors (first: `{next(iter(other))}`)"
            assert result.exit_code == 1 and message in result.output, result.output
