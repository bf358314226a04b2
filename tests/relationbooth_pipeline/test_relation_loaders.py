"""Adapters: loaded, saved, converted, unloaded; damaged ones refused with the pipeline as it was."""

import shutil
from fnmatch import fnmatch

import pytest
import torch
from safetensors.torch import load_file, save_file

from relationbooth_pipeline import LocalImageEncoder, adapter_from_released, relation_loaders
from relationbooth_pipeline.relation_loaders import load_model
from tests.relationbooth_pipeline.test_relation_conversion import released_form
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import photo, tiny_adapter, tiny_pipeline, tiny_unet, tiny_vision


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(pipeline with adapter, folder that its adapter was saved to)."""
    pipe, folder = tiny_pipeline(), tmp_path_factory.mktemp("saved") / "adapter"
    pipe.save_relation_adapter(folder)
    return pipe, folder


def test_loading_a_saved_adapter_gives_the_same_pictures(saved):
    pipe, folder = saved
    fresh = tiny_pipeline(adapter=False)
    fresh.load_relation_adapter(folder)
    assert torch.equal(generate(fresh, **TWO), generate(pipe, **TWO))


def test_an_adapter_in_a_saved_pipeline_brings_its_encoders(saved, tmp_path, monkeypatch):
    """From a folder, and from a simulated Hub that gives just the files asked for."""
    pipe, _ = saved
    expected = generate(pipe, **TWO)
    pipe.save_pretrained(tmp_path / "whole")
    fresh = tiny_pipeline(adapter=False)
    fresh.load_relation_adapter(tmp_path / "whole", subfolder="relation_adapter")
    assert torch.equal(generate(fresh, **TWO), expected)

    def download(name, allow_patterns, **kwargs):
        for file in (tmp_path / "whole").rglob("*.*"):
            path = file.relative_to(tmp_path / "whole")
            if any(fnmatch(path.as_posix(), pattern) for pattern in allow_patterns):
                (tmp_path / "cache" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, tmp_path / "cache" / path)
        return str(tmp_path / "cache")

    monkeypatch.setattr("relationbooth_pipeline.relation_image_encoder.snapshot_download", download)
    fresh = tiny_pipeline(adapter=False)
    fresh.load_relation_adapter("someone/whole", subfolder="relation_adapter")
    assert torch.equal(generate(fresh, **TWO), expected)
    assert not (tmp_path / "cache" / "unet").exists()


def test_a_revision_is_the_adapter_s_alone(saved, monkeypatch):
    pipe, folder = saved
    asked = {}

    def found(source, subfolder, hub):
        asked["adapter"] = hub
        return folder

    def read(kind, source, **options):
        asked[kind.__name__] = options
        return load_model(kind, source, **{n: v for n, v in options.items() if n not in ("token",)})

    monkeypatch.setattr(relation_loaders, "find_adapter_folder", found)
    monkeypatch.setattr(relation_loaders, "load_model", read)
    tiny_pipeline(adapter=False).load_relation_adapter("someone/adapter", revision="0123abc", token="t")
    assert asked["adapter"] == {"revision": "0123abc", "token": "t"}
    for encoder in ("CLIPVisionModelWithProjection", "LocalImageEncoder"):
        assert asked[encoder]["token"] == "t" and "revision" not in asked[encoder]


def test_local_tokens_are_turned_off_by_name(saved):
    pipe, folder = saved
    fresh = tiny_pipeline(adapter=False)
    fresh.load_relation_adapter(folder, local_image_encoder=None)
    assert fresh.local_image_encoder is None
    assert not torch.allclose(generate(fresh, **TWO), generate(pipe, **TWO))


def test_an_adapter_saved_without_its_local_encoder_loads_without_it(saved, tmp_path):
    pipe = tiny_pipeline(adapter=False)
    pipe.load_relation_adapter(saved[1], local_image_encoder=None)
    expected = generate(pipe, **TWO)
    pipe.save_relation_adapter(tmp_path / "adapter")
    fresh = tiny_pipeline(adapter=False)
    fresh.load_relation_adapter(tmp_path / "adapter")
    assert fresh.local_image_encoder is None
    assert torch.equal(generate(fresh, **TWO), expected)
    fresh.load_relation_adapter(tmp_path / "adapter", local_image_encoder=saved[1] / "local_image_encoder")
    assert torch.equal(generate(fresh, **TWO), generate(saved[0], **TWO))
    fresh.save_relation_adapter(tmp_path / "adapter")  # with its encoder again
    again = tiny_pipeline(adapter=False)
    again.load_relation_adapter(tmp_path / "adapter")
    assert torch.equal(generate(again, **TWO), generate(saved[0], **TWO))


def test_a_missing_local_encoder_is_an_error(saved, tmp_path):
    shutil.copytree(saved[1], tmp_path / "adapter")
    shutil.rmtree(tmp_path / "adapter" / "local_image_encoder")
    with pytest.raises(ValueError, match="brings no `local_image_encoder`.*or None to do without local tokens"):
        tiny_pipeline(adapter=False).load_relation_adapter(tmp_path / "adapter")


def test_unloading_leaves_plain_sdxl(saved):
    pipe = tiny_pipeline()
    plain = generate(tiny_pipeline(adapter=False))
    pipe.unload_relation_adapter()
    assert pipe.relation_adapter is None and torch.equal(generate(pipe), plain)
    assert "Parallel" not in str([type(p) for p in pipe.unet.attn_processors.values()])
    with pytest.raises(ValueError, match="none is loaded"):
        generate(pipe, **TWO)


def test_saving_replaces_an_adapter_and_never_what_lies_beside_it(saved, tmp_path):
    pipe = saved[0]
    target = tmp_path / "adapter"
    pipe.save_relation_adapter(target)
    (target / "config.json").write_text((target / "config.json").read_text() + " ")
    pipe.save_relation_adapter(target)
    assert not (target / "config.json").read_text().endswith(" ") and list(tmp_path.iterdir()) == [target]
    for name in ("checkpoint-100", "thesis.txt"):  # a training run's folder holds an adapter, too
        (target / name).mkdir()
        with pytest.raises(ValueError, match=f"holds something other than a relation adapter .{name}"):
            pipe.save_relation_adapter(target)
        assert (target / name).is_dir()
        (target / name).rmdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="`.*file` is a file. Choose a new or empty folder"):
        pipe.save_relation_adapter(tmp_path / "file")


def test_an_adapter_without_its_encoder_is_not_saved(saved, tmp_path):
    pipe = saved[0]
    encoder = pipe.image_prompt_encoder
    pipe.register_modules(image_prompt_encoder=None)
    try:
        with pytest.raises(ValueError, match="`image_prompt_encoder` is missing"):
            pipe.save_relation_adapter(tmp_path / "adapter")
    finally:
        pipe.register_modules(image_prompt_encoder=encoder)
    assert not list(tmp_path.iterdir())


def test_a_released_file_is_read_by_name_only(saved, tmp_path):
    torch.save({}, tmp_path / "ms_adapter.bin")
    with pytest.raises(ValueError, match="For MS-Diffusion's file name it"):
        tiny_pipeline(adapter=False).load_relation_adapter(tmp_path)


class _Evil:
    def __reduce__(self):
        return print, ("unpickled",)


def test_a_pickle_with_code_is_not_run(tmp_path, capsys):
    torch.save({"image_proj": _Evil()}, tmp_path / "ms_adapter.bin")
    with pytest.raises(ValueError, match="cannot be read safely"):
        tiny_pipeline(adapter=False).load_relation_adapter(tmp_path, weight_name="ms_adapter.bin")
    assert "unpickled" not in capsys.readouterr().out


def _damage(folder, change):
    file = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})


def _set(state, key, value):
    state[key] = value


KEY = "resampler.proj_in.weight"
DAMAGE = {
    "missing": (lambda state: state.pop(KEY), "do not fit its config|no RelationAdapter could be loaded"),
    "extra": (lambda state: _set(state, "odd", torch.ones(1)), "do not fit its config"),
    "misshapen": (lambda state: _set(state, KEY, state[KEY][:-1].contiguous()), "could be loaded|do not fit"),
    "not finite": (lambda state: state[KEY].fill_(float("nan")), "must hold finite"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_weights_are_refused(saved, tmp_path, name):
    shutil.copytree(saved[1], tmp_path / "adapter")
    change, message = DAMAGE[name]
    _damage(tmp_path / "adapter", change)
    pipe = tiny_pipeline()
    before = dict(pipe.components)
    with pytest.raises(ValueError, match=message):
        pipe.load_relation_adapter(tmp_path / "adapter")
    assert pipe.components == before


def test_a_truncated_file_is_refused(saved, tmp_path):
    shutil.copytree(saved[1], tmp_path / "adapter")
    file = tmp_path / "adapter" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no RelationAdapter could be loaded"):
        tiny_pipeline(adapter=False).load_relation_adapter(tmp_path / "adapter")


def test_an_adapter_for_another_unet_is_refused(saved, tmp_path):
    wide = tiny_unet(block_out_channels=(16, 64))
    pipe = tiny_pipeline(adapter=False, unet=wide)
    with pytest.raises(ValueError, match="has width 64 in the UNet and 32 in the adapter"):
        pipe.load_relation_adapter(saved[1])
    groups = released_form(saved[0].relation_adapter, saved[0].unet)
    with pytest.raises(ValueError, match="must have shape"):
        adapter_from_released(groups, wide, dim_head=8)


def test_an_encoder_of_another_width_is_refused(saved):
    pipe = tiny_pipeline(adapter=False)
    with pytest.raises(ValueError, match="`image_encoder` must have width 32 for this adapter, got 64"):
        pipe.load_relation_adapter(saved[1], image_encoder=tiny_vision(width=64))
    with pytest.raises(ValueError, match="`local_image_encoder` must have width 32"):
        pipe.load_relation_adapter(saved[1], local_image_encoder=tiny_vision(LocalImageEncoder, width=64))
    assert pipe.relation_adapter is None


@pytest.mark.parametrize("options", [{}, {"weight_name": "ms_adapter.bin"}])
def test_an_absent_folder_is_named(tmp_path, options):
    with pytest.raises(ValueError, match="absent` is no folder here, and the Hub gave nothing for it .*Check the name"):
        tiny_pipeline(adapter=False).load_relation_adapter(tmp_path / "absent", **options)


def test_an_unknown_argument_is_refused(saved):
    with pytest.raises(ValueError, match="not \\['weight_nam'\\]"):
        tiny_pipeline(adapter=False).load_relation_adapter(saved[1], weight_nam="x")


def test_active_background_tokens_act_where_no_object_is():
    unet = tiny_unet()
    active = tiny_pipeline(adapter=False, unet=unet)
    inert = tiny_pipeline(adapter=False, unet=unet)
    for pipe, acts in ((active, True), (inert, False)):
        adapter = tiny_adapter(unet, background_tokens_active=acts)
        pipe.register_modules(relation_adapter=adapter, image_prompt_encoder=tiny_vision())
        pipe.enable_parallel_attention()
    arguments = {"image_prompts": [photo(1)], "phrases": ["cat"], "boxes": [[0, 0, 0.3, 0.3]]}
    assert not torch.allclose(generate(active, **arguments), generate(inert, **arguments))
