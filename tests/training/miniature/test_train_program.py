"""The program `training.miniature.train`: its options reach the stages, and what no stage can use is refused."""

import shutil

import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from safetensors.torch import load_file, save_file

from relationbooth_pipeline import miniature
from training.common.made_for import made_for
from training.miniature import train
from training.miniature.stages import adapter


def test_an_adapter_trains_for_a_pipeline_that_is_there(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(adapter, "train_adapter", lambda *args, **sizes: given.append(args))
    folder = miniature.path()
    train.main(["adapter", "--model", str(folder), "--output_dir", str(tmp_path), "--mixed_precision", "no"])
    train.run_stage("adapter", tmp_path, {}, "no")
    (base, encoder, output, _, _, local), own = given
    assert (base, encoder, output) == (folder, folder / "relation_adapter" / "image_encoder", tmp_path / "adapter")
    assert local.encoder == str(folder / "relation_adapter" / "local_image_encoder")
    assert own[:2] == (tmp_path / "base" / "pipeline", tmp_path / "encoders" / "image_encoder")


def test_an_adapter_is_written_with_the_pipeline_that_it_trained_for(tmp_path):
    folder, out = miniature.path(), tmp_path / "export"
    own = tmp_path / "adapter" / "model"
    shutil.copytree(folder / "relation_adapter", own)
    weights = load_file(own / "diffusion_pytorch_model.safetensors")
    save_file(
        {name: 2 * weight.float() for name, weight in weights.items()}, own / "diffusion_pytorch_model.safetensors"
    )
    assert train.run_stage("export", tmp_path, {}, model=str(folder))
    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "judges/picture_judge"):
        assert (out / f"{part}.safetensors").read_bytes() == (folder / f"{part}.safetensors").read_bytes(), part
    written = load_file(out / "relation_adapter" / "diffusion_pytorch_model.safetensors")
    assert all(
        torch.equal(written[name], 2 * weight) and written[name].dtype == torch.float16
        for name, weight in weights.items()
    )
    assert not (out / "relation_loras").exists(), "they know the other adapter"


@pytest.mark.parametrize("flags, told", [
    (["all", "--model", "weights"], "`--model` is for adapter and export, got the stage all"),
    (["adapter", "--model", "nowhere"], "`--model` must hold a pipeline, an adapter and its towers, got 'nowhere'"),
    (["base", "--train_batch_size", "0"], "`--train_batch_size` must be at least 1, got 0"),
    (["base", "--scenes", "0"], "`--scenes` must be at least 1, got 0"),
    (["encoders", "--scenes", "8"], "`--scenes` is for base, adapter and all, got the stage encoders"),
    (["vae", "--train_batch_size", "8"], "is for encoders, base, adapter and all, got the stage vae"),
    (["base", "--max_train_steps", "0"], "`--max_train_steps` must be at least 1, got 0"),
    (["relation_loras", "--training_seeds", "0"], "`--training_seeds` must be at least 1, got 0"),
    (["relation_loras", "--max_train_steps", "5"], "`--max_train_steps` is for vae, encoders, base, adapter, decoder"),
    (["local_encoder", "--learning_rate", "1"], "judges and all, got the stage local_encoder"),
    (["export", "--dataloader_num_workers", "2"], "`--dataloader_num_workers` is for vae"),
    (["judges", "--start_from", "there"], "`--start_from` is for vae, encoders, base and all, got the stage judges"),
    (["base", "--dataloader_num_workers", "-1"], "`--dataloader_num_workers` must be at least 0, got -1"),
])  # fmt: skip
def test_options_that_a_stage_cannot_use_are_refused_before_it_starts(flags, told, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "run_stage", lambda *given, **options: pytest.fail("it started"))
    with pytest.raises(SystemExit):
        train.main([*flags, "--output_dir", str(tmp_path)])
    assert told in capsys.readouterr().err


def test_an_adapter_is_not_written_with_another_base(tmp_path):
    shutil.copytree(miniature.path() / "relation_adapter", tmp_path / "adapter" / "model")
    made_for(tmp_path / "adapter", base="another")
    (tmp_path / "export").mkdir()
    with pytest.raises(ValueError, match="adapter` holds what was made for another base"):
        train.run_stage("export", tmp_path, {}, model=str(miniature.path()))
    assert (tmp_path / "export").is_dir(), "what lay there is kept"


@pytest.mark.parametrize("made, flags, told", [
    ("own/base", ["adapter"], "`--model` needs an `--output_dir` without a base of its own"),
    ("own/adapter", ["export"], "is exported with the adapter in `--output_dir`, and own holds none. Train it first"),
    ("own/adapter", ["export", "--export_dir", "model"], "must lie apart from `--model`, which it would replace"),
    ("own/adapter", ["export", "--export_dir", "."], "must lie apart from `--model`, which it would replace"),
    ("own/adapter", ["export", "--export_dir", "model/unet"], "must lie apart from `--model`, which it would replace"),
])  # fmt: skip
def test_a_model_is_neither_mixed_with_another_nor_written_over(made, flags, told, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "run_stage", lambda *given, **options: pytest.fail("it started"))
    monkeypatch.chdir(tmp_path)
    for folder in (made, "model/relation_adapter/local_image_encoder"):
        (tmp_path / folder).mkdir(parents=True)
    if "--export_dir" in flags:
        (tmp_path / made / "model").mkdir()
        (tmp_path / made / "model" / "config.json").touch()
    with pytest.raises(SystemExit):
        train.main([*flags, "--model", "model", "--output_dir", "own"])
    assert told in capsys.readouterr().err
