"""Pictures are of the very models that drew them: what was trained anew in the same place is another system."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from relationbooth_pipeline.evaluation.systems import SystemOptions, build_systems, is_drawn, picture_path
from relationbooth_pipeline.evaluation.systems.ip_adapter import REPOSITORY
from relationbooth_pipeline.evaluation.systems.pictures import picture_settings
from relationbooth_pipeline.generation import sources
from relationbooth_pipeline.sheets.png_settings import save_png

from .tiny_pipelines import bench, options, world  # noqa: F401


def retrain(file: Path) -> None:
    """Other bytes, as long as before."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def keep(root, system, cases, **changed):
    """A picture of the first case, as if it were drawn; `changed`: settings that its file has instead."""
    case = cases.cases[0]
    path = picture_path(root, system.name, case.id, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(Image.new("RGB", (8, 8)), path, {**picture_settings(system, cases, case, 0), **changed})


@pytest.mark.parametrize(
    ("text", "file", "told"),
    [
        ("adapter", "model/relation_adapter/diffusion_pytorch_model.safetensors", "adapter: 'relation_adapter#"),
        ("adapter", "model/unet/diffusion_pytorch_model.safetensors", "model: 'model#"),
        ("sdxl", "model/text_encoder/model.safetensors", "model: 'model#"),
        ("sdxl", "model/unet/config.json", "model: 'model#"),
        ("dreambooth:{}/subjects", "model/vae/diffusion_pytorch_model.safetensors", "model: 'model#"),
        ("ip-adapter:{}/ip/plus.safetensors", "ip/plus.safetensors", "weights: 'plus.safetensors#"),
        ("ip-adapter:{}/ip/plus.safetensors", "ip/image_encoder/model.bin", "image_encoder: 'image_encoder#"),
    ],
)
def test_pictures_of_a_model_that_was_trained_anew_are_refused(world, bench, options, tmp_path, text, file, told):
    moved = tmp_path / "world"
    shutil.copytree(world, moved)
    for name in ("ip/plus.safetensors", "ip/image_encoder/model.bin"):
        (moved / name).parent.mkdir(exist_ok=True, parents=True)
        (moved / name).write_bytes(b"weights")
    settings = replace(options.generation, model=str(moved / "model"))

    def system():
        return build_systems([text.format(moved)], SystemOptions(settings))[0]

    keep(tmp_path / "run", system(), bench)
    assert is_drawn(tmp_path / "run", system(), bench, bench.cases[0], 1)
    retrain(moved / file)
    with pytest.raises(ValueError, match=f"was drawn with other settings .{told}"):
        is_drawn(tmp_path / "run", system(), bench, bench.cases[0], 1)


def test_what_does_not_act_decides_nothing(world, bench, options, tmp_path):
    moved = tmp_path / "world"
    shutil.copytree(world, moved)
    settings = replace(options.generation, model=str(moved / "model"))
    before = [s.settings(bench.cases[0]) for s in build_systems(["sdxl", "adapter"], SystemOptions(settings))]
    retrain(moved / "model" / "relation_loras" / "hug" / "pytorch_lora_weights.safetensors")
    assert [s.settings(bench.cases[0]) for s in build_systems(["sdxl", "adapter"], SystemOptions(settings))] == before
    retrain(moved / "model" / "relation_adapter" / "diffusion_pytorch_model.safetensors")
    after = [s.settings(bench.cases[0]) for s in build_systems(["sdxl", "adapter"], SystemOptions(settings))]
    assert after[0] == before[0] and after[1] != before[1]
    elsewhere = build_systems(["sdxl"], options)[0]  # the same model in another place
    assert elsewhere.settings(bench.cases[0]) == before[0] and str(tmp_path) not in str(before)


def test_a_run_of_before_digests_is_refused_in_words(world, bench, options, tmp_path):
    (system,) = build_systems(["adapter"], options)
    keep(tmp_path, system, bench, model=options.generation.model, dtype="auto", adapter=None)
    with pytest.raises(ValueError, match="other settings .*dtype: 'auto' there, 'float32' asked for.*another output"):
        is_drawn(tmp_path, system, bench, bench.cases[0], 1)


def test_auto_is_told_as_what_it_means(world, bench, options, monkeypatch):
    def dtype():
        return build_systems(["sdxl"], options)[0].settings(bench.cases[0])["dtype"]

    assert dtype() == "float32"
    monkeypatch.setattr(sources, "resolved_device", lambda device: "cuda:0")
    monkeypatch.setattr(sources, "check_device", lambda settings: None)
    assert dtype() == "float16"


def test_repositories_stay_names(bench, options):
    told = build_systems(["ip-adapter"], options)[0].settings(bench.cases[0])
    assert told["source"] == REPOSITORY and told["image_encoder"] == "models/image_encoder"
