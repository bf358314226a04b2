"""Results of one model are never gone on with for another: what a folder was made for is written down beside them."""

import contextlib
import json

import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from safetensors.torch import save_file

from relationbooth_pipeline import miniature
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME
from training.common import made_for as module
from training.common.made_for import BASE, PIPELINE, made_for, weights_digest
from training.miniature import tables
from training.miniature.ablations.adapter_table import adapter_table
from training.miniature.stages.adapter import train_adapter
from training.miniature.stages.relation_loras import train_one, training_arguments
from training.miniature.stages.towers import prepare_towers
from training.miniature.stages.training_loop import TrainingPlan
from training.miniature.subjects.relation_embedding import FILE_NAME, train_relation_embedding

PLAN = TrainingPlan(1)


def test_a_folder_is_made_for_what_it_was_first_used_with(tmp_path):
    folder = tmp_path / "new"
    made_for(folder, model="a", toy=False)
    made_for(folder, model="a", plan=[1, 2])  # what is told later counts from then on
    before = (folder / module.FILE_NAME).read_text()
    assert json.loads(before) == {"model": "a", "toy": False, "plan": [1, 2]}
    with pytest.raises(ValueError, match=r"made for another training plan \(\[3\], now \[4\]\). Give a new output"):
        made_for(tmp_path / "other", training_plan=[3])
        made_for(tmp_path / "other", training_plan=[4])
    for changed in ({"model": "b"}, {"plan": [1, 3]}, {"toy": True, "more": 1}):
        with pytest.raises(ValueError, match="holds what was made for another"):
            made_for(folder, **changed)
    assert (folder / module.FILE_NAME).read_text() == before


def test_the_digest_tells_weights_and_names_and_nothing_else(tmp_path):
    def write(name, value):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_file({"w": torch.full((2,), value)}, tmp_path / name)

    write("unet/a.safetensors", 1.0)
    write("vae/a.safetensors", 1.0)
    first = weights_digest(tmp_path, BASE), weights_digest(tmp_path, PIPELINE)
    (tmp_path / "unet" / "config.json").write_text("{}")
    assert (weights_digest(tmp_path, BASE), weights_digest(tmp_path, PIPELINE)) == first
    write("vae/a.safetensors", 2.0)
    assert weights_digest(tmp_path, BASE) == first[0] and weights_digest(tmp_path, PIPELINE) != first[1]
    (tmp_path / "unet" / "a.safetensors").rename(tmp_path / "unet" / "b.safetensors")
    assert weights_digest(tmp_path, BASE) != first[0]


def test_an_adapter_is_not_gone_on_with_on_another_base(tmp_path):
    made_for(tmp_path, base="another")
    encoder = miniature.path() / "relation_adapter" / "image_encoder"
    with pytest.raises(ValueError, match="made for another base"):
        train_adapter(miniature.path(), encoder, tmp_path, PLAN, contextlib.nullcontext)
    assert {file.name for file in tmp_path.iterdir()} == {module.FILE_NAME}, "told before any work"


def test_adapters_of_another_plan_are_not_compared(tmp_path):
    made_for(tmp_path, steps_batch_and_scenes=[2, 1, 2])
    with pytest.raises(ValueError, match=r"another steps batch and scenes \(\[2, 1, 2\], now \[1, 1, 2\]\)"):
        adapter_table("nowhere", None, tmp_path, {}, [], 2, None, plan=PLAN, batch=1, scenes=2)


@pytest.mark.parametrize("kept, told", [
    ({"model": "another"}, "another model"),
    ({"judges": "another"}, "another judges"),
    ({"rehearsal": True}, r"another rehearsal \(True, now False\)"),
])  # fmt: skip
def test_tables_refuse_a_folder_of_others(kept, told, tmp_path, monkeypatch):
    monkeypatch.setitem(tables.TABLES, "weights", lambda *arguments: pytest.fail("it started"))
    made_for(tmp_path, **kept)
    with pytest.raises(ValueError, match=told):
        tables.main(["--output_dir", str(tmp_path), "--tables", "weights"])


@pytest.mark.parametrize("flags, told", [
    (["--scenes", "0"], "`--scenes` must be at least 1, got 0"),
    (["--max_train_steps", "-1"], "`--max_train_steps` must be at least 1, got -1"),
    (["--train_batch_size", "8", "--tables", "steps"], "`--train_batch_size` is for the table local_tokens"),
    (["--scenes", "8", "--toy"], "`--scenes` is for the table local_tokens, and `--toy` has its own"),
    (["--poses", "jumping", "hugging"], "`--poses` of the table local_tokens must be relations of two, got jumping"),
    (["--count", "0"], "`--count` must be at least 1, got 0"),
    (["--training_seeds", "0"], "`--training_seeds` must be at least 1, got 0"),
])  # fmt: skip
def test_sizes_of_adapters_are_refused_where_they_would_be_ignored(flags, told, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tables.main(["--output_dir", str(tmp_path), *flags])
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_sizes_of_adapters_reach_the_table(tmp_path, monkeypatch):
    asked = {}

    def table(*given, **sizes):
        asked.update(sizes, plan=given[8])
        return {}

    monkeypatch.setattr(tables, "adapter_table", table)
    monkeypatch.setattr(tables, "table_text", str)
    monkeypatch.setattr(tables, "prepare_towers", lambda *given, **options: {"distilled": "a", "small": "b"})
    sizes = ["--max_train_steps", "7", "--train_batch_size", "5", "--scenes", "3", "--mixed_precision", "no"]
    tables.main(["--output_dir", str(tmp_path), "--tables", "local_tokens", *sizes])
    assert (asked["plan"].max_train_steps, asked["batch"], asked["scenes"]) == (7, 5, 3)


def test_the_adapters_own_distilled_tower_is_compared(tmp_path, monkeypatch):
    """A second distillation would be another tower than the one that the tables are about."""
    from training.miniature.stages import towers

    made = []
    monkeypatch.setattr(towers, "train_small_tower", lambda folder, plan: folder / "model")
    monkeypatch.setattr(towers, "distil", lambda tower, output, **options: made.append(tower) or output)
    adapter = miniature.path() / "relation_adapter"
    assert prepare_towers(adapter, tmp_path)["distilled"] == adapter / "local_image_encoder"
    assert made == [tmp_path / "small" / "model"]
    (tmp_path / "bare" / "image_encoder").mkdir(parents=True)
    assert prepare_towers(tmp_path / "bare", tmp_path)["distilled"] == tmp_path / "distilled"
    assert made[1] == tmp_path / "bare" / "image_encoder"


def test_a_relation_lora_of_another_model_or_recipe_is_not_taken(tmp_path):
    """Nor a relation embedding; a file that is there would be returned as if it were what was asked for."""
    for train, file in ((train_one, LORA_WEIGHT_NAME), (train_relation_embedding, FILE_NAME)):
        folder = tmp_path / file
        folder.mkdir()
        (folder / file).touch()
        assert train(miniature.path(), folder, "hugging", 1) == folder / file
        for told in (("hugging", 2), ("kissing", 1)):
            with pytest.raises(ValueError, match="holds what was made for another training"):
                train(miniature.path(), folder, *told)
        with pytest.raises(ValueError, match="holds what was made for another training"):
            train(miniature.path(), folder, "hugging", 1, max_train_steps=7)
        (tmp_path / "unet").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="holds what was made for another model"):
            train(tmp_path, folder, "hugging", 1)


def test_triplets_of_another_number_are_not_trained_on(tmp_path):
    training_arguments(miniature.path(), tmp_path / "lora", "jumping", triplets=2)
    with pytest.raises(ValueError, match="lora-triplets` must hold 3 triplets, got 2"):
        training_arguments(miniature.path(), tmp_path / "lora", "jumping", triplets=3)
