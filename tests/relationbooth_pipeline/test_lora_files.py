"""Which file a LoRA's name means, and that what is refused leaves the pipeline as it was."""

import shutil

import pytest
import torch
from diffusers.utils import logging
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from relationbooth_pipeline import RelationMetadata, relation_files
from relationbooth_pipeline.relation_files import find_lora_file
from tests.relationbooth_pipeline.test_relation_lora import FILE, HUG, make_lora
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import tiny_pipeline

KISS = RelationMetadata("kiss", "is kissing", "A {0} is kissing a {1}", layout_prior=[[0, 0, 0.4, 1], [0.6, 0, 1, 1]])
# Files → (arguments, the one that is meant)
FOLDERS = {
    "the usual name": ([FILE, "a.safetensors"], {}, FILE),
    "any name": (["hug_v2.safetensors", "README.md", "hug_v2.bin"], {}, "hug_v2.safetensors"),
    "named": ([FILE, "b.safetensors"], {"weight_name": "b.safetensors"}, "b.safetensors"),
    "checkpoints beside": (
        ["hug.safetensors", f"checkpoint-5/{FILE}", "checkpoint.safetensors"],
        {},
        "hug.safetensors",
    ),
    "subfolder": (["a.safetensors", "hug/b.safetensors"], {"subfolder": "hug"}, "hug/b.safetensors"),
    "subfolder, named": (
        ["hug/a.safetensors", "hug/b.safetensors"],
        {"subfolder": "hug", "weight_name": "b.safetensors"},
        "hug/b.safetensors",
    ),
    "several": (["c.safetensors", "b.safetensors"], {}, "b.safetensors"),
    "a named pickle": ([FILE, "hug.bin"], {"weight_name": "hug.bin"}, "hug.bin"),
}


def fill(folder, files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def hub_of(folder, monkeypatch):
    """`someone/hug` on the Hub holds what `folder` holds."""

    def download(repository, filename, subfolder=None, **hub):
        return str(folder / (subfolder or "") / filename)

    def names(repository, **hub):
        return [file.relative_to(folder).as_posix() for file in folder.rglob("*.*") if file.is_file()]

    monkeypatch.setattr(relation_files, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(relation_files, "hf_hub_download", download)
    monkeypatch.setattr(relation_files, "list_repo_files", names)
    return "someone/hug"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_and_a_repository_mean_the_same_file(name, tmp_path, monkeypatch):
    files, arguments, expected = FOLDERS[name]
    fill(tmp_path, files)
    assert find_lora_file(tmp_path, **arguments) == tmp_path / expected
    assert find_lora_file(hub_of(tmp_path, monkeypatch), **arguments) == tmp_path / expected


def test_a_choice_among_several_is_said_or_refused(tmp_path, caplog):
    fill(tmp_path, ["b.safetensors", "a.safetensors"])
    logger = logging.get_logger("relationbooth_pipeline.relation_files")
    logger.addHandler(caplog.handler)
    find_lora_file(tmp_path)
    logger.removeHandler(caplog.handler)
    assert "holds 2 LoRA files (a.safetensors, b.safetensors, …): `a.safetensors` is taken" in caplog.text
    with pytest.raises(ValueError, match="holds 2 LoRA files .* Name the file"):
        find_lora_file(tmp_path, only=True)


@pytest.mark.parametrize("where", ["folder", "repository"])
def test_files_that_come_one_by_one_are_read_where_they_lie(where, tmp_path, monkeypatch):
    """The header and the weights are those of one file, though others lie beside it."""
    make_lora(tmp_path, seed=1, name="kiss.safetensors", metadata=KISS)
    make_lora(tmp_path / "checkpoint-9", seed=2, metadata=HUG)
    pipe, expected = tiny_pipeline(), tiny_pipeline()
    expected.load_lora_weights(load_file(tmp_path / "kiss.safetensors"))
    source = tmp_path if where == "folder" else hub_of(tmp_path, monkeypatch)
    pipe.load_lora_weights(source, adapter_name="kiss")
    assert pipe.relation_metadata == {"kiss": KISS} and pipe.layout(2) == KISS.layout_prior
    assert torch.equal(generate(pipe, **TWO), generate(expected, **TWO, boxes=KISS.layout_prior))


def test_what_is_not_there_is_said_with_the_next_step(tmp_path, monkeypatch):
    fill(tmp_path, ["optimizer.safetensors", "checkpoint-5/a.safetensors", "a.bin"])
    for source in (tmp_path, hub_of(tmp_path, monkeypatch)):
        with pytest.raises(ValueError, match="holds no safetensors file of a LoRA. Name it with `weight_name`, or its"):
            find_lora_file(source)
    with pytest.raises(ValueError, match="without network its file must be named: `weight_name=`"):
        find_lora_file("someone/hug", hub={"local_files_only": True})
    with pytest.raises(ValueError, match="is a file, but `weight_name` is 'b.bin'"):
        find_lora_file(tmp_path / "a.bin", "b.bin")


def test_a_pickle_is_read_only_when_named(tmp_path):
    make_lora(tmp_path)
    torch.save(load_file(tmp_path / FILE), tmp_path / "hug.BIN")
    pipe = tiny_pipeline()
    with pytest.raises(ValueError, match="hug.BIN` is a pickle, and reading one may run code.*weight_name='hug.BIN'"):
        pipe.load_lora_weights(tmp_path / "hug.BIN")
    expected = tiny_pipeline()
    expected.load_lora_weights(load_file(tmp_path / FILE))
    (tmp_path / "hug.BIN").rename(tmp_path / "hug.bin")
    pipe.load_lora_weights(tmp_path, weight_name="hug.bin")
    assert torch.equal(generate(pipe, **TWO), generate(expected, **TWO)) and pipe.relation_metadata == {}


def bad_header(folder):
    with safe_open(folder / FILE, "pt") as file:
        save_file({key: file.get_tensor(key) for key in file.keys()}, folder / FILE, metadata={"relationbooth": "{"})


def truncated(folder):
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:5000])


def misshapen(folder):
    state = load_file(folder / FILE)
    key = next(key for key in state if "lora_B" in key)
    save_file({**state, key: state[key][:-1].contiguous()}, folder / FILE)


def text_encoder_that_does_not_fit(folder):
    layer = "text_encoder.encoder.layers.0.self_attn.q_proj"
    text = {f"{layer}.lora_A.weight": torch.ones(4, 5), f"{layer}.lora_B.weight": torch.ones(5, 4)}
    save_file({**load_file(folder / FILE), **text}, folder / FILE)


REFUSED = {
    "a damaged header": (bad_header, {}, "damaged `relationbooth` header"),
    "a truncated file": (truncated, {}, "no intact safetensors file"),
    "another width": (None, {"cross_attention_dim": 16}, "attn2.to_k` reads 64 channels, .* for 16"),
    "more layers": (None, {"transformer_layers_per_block": (1, 4)}, "does not fit the UNet: .* does not exist"),
    "a misshapen tensor": (misshapen, {}, "does not fit the UNet: .* gives 32 channels, .* for 31"),
    "a part for the text encoder that does not fit": (text_encoder_that_does_not_fit, {}, "."),
}


@pytest.mark.parametrize("first", [True, False], ids=["alone", "beside another"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_file_leaves_nothing_behind(name, first, tmp_path):
    damage, unet, message = REFUSED[name]
    pipe = tiny_pipeline()
    if not first:
        pipe.load_lora_weights(make_lora(tmp_path / "other", seed=3, metadata=KISS), adapter_name="kiss")
        pipe.set_adapters("kiss", 0.5)
    keys, before = pipe.unet.state_dict().keys(), generate(pipe, **TWO)
    adapters, metadata = pipe.get_list_adapters(), pipe.relation_metadata
    folder = make_lora(tmp_path / "bad", **unet)
    if damage:
        damage(folder)
    with pytest.raises(Exception, match=message):  # diffusers, PEFT and transformers raise their own kinds
        pipe.load_lora_weights(folder, adapter_name="bad")
    assert (pipe.get_list_adapters(), pipe.relation_metadata) == (adapters, metadata)
    assert pipe.unet.state_dict().keys() == keys and torch.equal(generate(pipe, **TWO), before)
    shutil.rmtree(folder)
    pipe.load_lora_weights(make_lora(folder), adapter_name="bad")
    assert pipe.relation_metadata["bad"] == HUG


@pytest.mark.parametrize("kind", ("model", "sequential"))
def test_a_refused_file_leaves_offloading_on(tmp_path, kind, monkeypatch):
    pytest.importorskip("accelerate")
    pipe = tiny_pipeline()
    # Sequential offloading is put on again for the accelerator that it was put on for; here that is the CPU.
    sequential = type(pipe).enable_sequential_cpu_offload
    monkeypatch.setattr(type(pipe), "enable_sequential_cpu_offload", lambda p, **named: sequential(p, device="cpu"))
    getattr(pipe, f"enable_{kind}_cpu_offload")(device="cpu")

    def hooked():
        parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
        return {name: sum(hasattr(layer, "_hf_hook") for layer in part.modules()) for name, part in parts.items()}

    before = hooked()
    text_encoder_that_does_not_fit(make_lora(tmp_path))
    with pytest.raises(Exception, match="."):
        pipe.load_lora_weights(tmp_path)
    assert hooked() == before and all(before.values())
    if kind == "model":  # accelerate cannot put single weights back on a CPU
        assert torch.equal(generate(pipe, **TWO), generate(tiny_pipeline(), **TWO))
