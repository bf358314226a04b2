"""What `train_relation_lora_sdxl.py` refuses, before it loads any model."""

import json
import shutil

import pytest
from accelerate import Accelerator

from relationbooth_pipeline.triplets import read_triplets, write_metadata
from tests.tiny_training import save_triplets
from tests.training.conftest import relation_arguments
from tests.training.programs import Refusal, one_byte_more, refuse_loading, refused
from training import train_relation_lora_sdxl as script

OWN_PICTURES = {"validation_prompt": "a cat is hugging", "validation_phrases": "cat"}


@pytest.fixture
def no_models(monkeypatch):
    monkeypatch.setattr(script, "load_pipeline", refuse_loading)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_data_dir": "nowhere"}, "`nowhere` holds neither `metadata.jsonl` nor `prompts.json`"),
        ({"train_batch_size": 0}, "`--train_batch_size` must be at least 1, got 0."),
        ({"resolution": 100}, "`--resolution` must be a multiple of 8, at least 64, got 100."),
        ({"dataset_name": "a/b"}, "exactly one of `--train_data_dir` and `--dataset_name`"),
        ({"checkpoints_total_limit": 0}, "`--checkpoints_total_limit` must be at least 1, got 0"),
        ({"resume_from_checkpoint": "checkpoint-7"}, "must be 'latest' or one of none"),
        ({"report_to": "wandb", "hub_token": "x"}, "`--hub_token` would be sent to wandb"),
        ({"validation_images": "a.png"}, "need `--validation_prompt`"),
        ({"validation_prompt": "a cat is hugging a dog"}, "must name bear: its image prompts show them"),
        ({"validation_prompt": "a catfish is hugging a bear"}, "must name cat: its image prompts show them"),
        (
            {"relation_adapter_weight_name": "ms_adapter.bin"},
            "'ms_adapter.bin' names a file in `--relation_adapter`, which is not given.",
        ),
        (
            {**OWN_PICTURES, "validation_images": "no.png"},
            "`--validation_images` must be readable pictures: no image file at `no.png`.",
        ),
        (
            {**OWN_PICTURES, "validation_images": __file__},
            "`--validation_images` must be readable pictures: `",
        ),
        ({"kml_weight": -1}, "`--kml_weight` must be at least 0, got -1.0."),
        (
            {"template": "a {9} hugs"},
            "`--template` must have each of {0}, {1} once and no other braces, got 'a {9} hugs'",
        ),
        ({"template": "a {0} hugs a {x}"}, "`--template` must have each of {0}, {1} once"),
        ({"template": "a {0} hugs a {1} {"}, "`--template` must have each of {0}, {1} once"),
    ],
)
def test_bad_arguments_are_refused_before_any_model(no_models, base, triplets, tmp_path, capsys, changes, message):
    assert message in refused(script, relation_arguments(base, triplets, tmp_path / "run", **changes), capsys)


def test_a_loss_on_coarse_attention_is_refused_where_there_is_none(no_models, base, triplets, tmp_path, capsys):
    """At 2048 pixels the tiny UNet's two levels have 256 and 128 positions a side."""
    flags = relation_arguments(base, triplets, tmp_path / "run", resolution=2048, predicate_attention_weight=0.1)
    assert (
        "`--predicate_attention_weight` reads attention on grids of at most 1024 positions; at `--resolution` 2048"
        in (refused(script, flags, capsys))
    )
    with pytest.raises(Refusal):  # accepted: it goes on to loading models
        script.main(relation_arguments(base, triplets, tmp_path / "run", predicate_attention_weight=0.1))


def test_models_of_another_form_are_refused(no_models, base, triplets, tmp_path, capsys):
    for name, file in (
        ("pretrained_vae_model_name_or_path", "vae.pt"),
        ("pretrained_model_name_or_path", "xl.safetensors"),
    ):
        (tmp_path / file).write_bytes(b"x")
        flags = relation_arguments(base, triplets, tmp_path / "run", **{name: tmp_path / file})
        assert f"`--{name}` must be a folder" in refused(script, flags, capsys)
    flags = relation_arguments(base, triplets, tmp_path / "run", pretrained_model_name_or_path=tmp_path)
    assert "`--pretrained_model_name_or_path` must be an SDXL folder or repository, got" in refused(
        script, flags, capsys
    )


def test_a_cosine_s_length_is_no_free_choice_on_resume(no_models, relation_run, base, triplets, capsys):
    flags = relation_arguments(base, triplets, relation_run, max_train_steps=99, resume_from_checkpoint="latest")
    assert "--max_train_steps 12 → 99" in refused(script, flags, capsys)


def test_another_run_in_the_folder_is_refused(no_models, relation_run, base, triplets, capsys):
    flags = relation_arguments(base, triplets, relation_run)
    assert "holds another run. Go on with it" in refused(script, flags, capsys)
    other = [*relation_arguments(base, triplets, relation_run, learning_rate=0.5), "--resume_from_checkpoint", "latest"]
    assert "--learning_rate 0.01 → 0.5" in refused(script, other, capsys)


def test_other_triplets_are_refused_on_resume(no_models, relation_run, base, triplets, tmp_path, capsys):
    """The order of the data would be another one."""
    shutil.copytree(relation_run, tmp_path / "run")
    flags = relation_arguments(base, triplets, tmp_path / "run", resume_from_checkpoint="latest")
    with pytest.raises(Refusal):  # accepted: it goes on to loading models
        script.main(flags)
    metadata = triplets / "metadata.jsonl"
    before = metadata.read_text(encoding="utf-8")
    lines = [line for line in before.split("\n") if line]
    try:
        metadata.write_text("\n".join(lines[:-1]), encoding="utf-8")
        assert f"triplet_count {len(lines)} → {len(lines) - 1}, triplet_digest " in refused(script, flags, capsys)
        metadata.write_text("\n".join(lines[::-1]), encoding="utf-8")
        assert "other arguments or data: triplet_digest " in refused(script, flags, capsys)
    finally:
        metadata.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("file", ["target_0.png", "object_1_0.png", "mask_2_0.png"])
def test_other_pictures_of_the_same_names_are_refused_on_resume(
    no_models, relation_run, base, triplets, tmp_path, capsys, file
):
    shutil.copytree(relation_run, tmp_path / "run")
    flags = relation_arguments(base, triplets, tmp_path / "run", resume_from_checkpoint="latest")
    with one_byte_more(triplets / file):
        assert "other arguments or data: picture_digest " in refused(script, flags, capsys)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae", "relation_adapter", "relation_adapter/image_encoder"])
def test_another_base_model_of_the_same_name_is_refused_on_resume(
    no_models, relation_run, base, triplets, tmp_path, capsys, part
):
    shutil.copytree(relation_run, tmp_path / "run")
    flags = relation_arguments(base, triplets, tmp_path / "run", resume_from_checkpoint="latest")
    with one_byte_more(next((base / part).glob("*.safetensors"))):
        assert "data: pretrained_model_name_or_path_digest " in refused(script, flags, capsys)
    (base / "relation_loras").mkdir()  # as the miniature, whose RelationLoRAs are put there while others train
    (base / "relation_loras" / "new.safetensors").write_bytes(b"")
    try:
        with pytest.raises(Refusal):  # accepted: it goes on to loading models
            script.main(flags)
    finally:
        shutil.rmtree(base / "relation_loras")


def test_another_number_of_processes_is_refused_on_resume(
    no_models, relation_run, base, triplets, tmp_path, capsys, monkeypatch
):
    shutil.copytree(relation_run, tmp_path / "run")
    flags = relation_arguments(base, triplets, tmp_path / "run", resume_from_checkpoint="latest")
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    assert "other arguments or data: process_count 1 → 2. Give them" in refused(script, flags, capsys)


def test_a_folder_whose_notes_lack_processes_and_triplets_is_resumed(no_models, relation_run, base, triplets, tmp_path):
    shutil.copytree(relation_run, tmp_path / "run")
    notes = tmp_path / "run" / "training_arguments.json"
    told = json.loads(notes.read_text(encoding="utf-8"))
    facts = (
        "process_count", "triplet_count", "triplet_digest", "picture_digest", "pretrained_model_name_or_path_digest"
    )  # fmt: skip
    notes.write_text(json.dumps({k: v for k, v in told.items() if k not in facts}), encoding="utf-8")
    with pytest.raises(Refusal):  # accepted: it goes on to loading models
        script.main(relation_arguments(base, triplets, tmp_path / "run", resume_from_checkpoint="latest"))
    assert set(facts) <= json.loads(notes.read_text(encoding="utf-8")).keys()


def test_a_run_that_ended_before_its_first_checkpoint_may_begin_with_other_arguments(
    no_models, base, triplets, tmp_path
):
    """Who ran out of memory tries a smaller batch in the same folder."""
    for changes in ({}, {"learning_rate": 0.5}, {"learning_rate": 0.1, "resume_from_checkpoint": "latest"}):
        with pytest.raises(Refusal):  # accepted: it goes on to loading models
            script.main(relation_arguments(base, triplets, tmp_path / "run", **changes))


def test_fewer_steps_than_the_checkpoint_has_are_refused(no_models, relation_run, base, triplets, tmp_path, capsys):
    """Nothing would be trained, and the longer run's weights be called the shorter one's."""
    shutil.copytree(relation_run, tmp_path / "run")
    notes = tmp_path / "run" / "training_arguments.json"
    told = json.loads(notes.read_text(encoding="utf-8")) | {"lr_scheduler": "constant"}
    notes.write_text(json.dumps(told), encoding="utf-8")
    same = {"lr_scheduler": "constant", "resume_from_checkpoint": "latest"}
    flags = relation_arguments(base, triplets, tmp_path / "run", **same, max_train_steps=1)
    assert "`checkpoint-12` is beyond `--max_train_steps` 1, which ends after step 1." in refused(script, flags, capsys)
    with pytest.raises(Refusal):  # accepted: it goes on to loading models
        script.main(relation_arguments(base, triplets, tmp_path / "run", **same, max_train_steps=12))


def test_swapped_keypoints_are_refused_and_repaired(no_models, base, tmp_path, capsys):
    folder = save_triplets(tmp_path / "triplets")
    rows = read_triplets(folder)
    rows[0].keypoints = rows[0].keypoints.flip(0)
    write_metadata(folder, rows)
    flags = relation_arguments(base, folder, tmp_path / "run")
    assert "the keypoints of line 1 are listed in another object's place" in refused(script, flags, capsys)
    with pytest.raises(Refusal):  # accepted: it goes on to loading models
        script.main([*flags, "--fix_keypoints"])


def test_a_predicate_is_given_to_triplets_that_name_none(no_models, base, tmp_path, capsys):
    folder = save_triplets(tmp_path / "triplets")
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").split("\n") if line]
    without = "\n".join(json.dumps({k: v for k, v in line.items() if k != "predicate"}) for line in lines)
    (folder / "metadata.jsonl").write_text(without, encoding="utf-8")
    flags = relation_arguments(base, folder, tmp_path / "run")
    assert "line 2: lacks 'predicate'" in refused(script, flags, capsys)
    assert "'kissing' must stand in the prompt" in refused(script, [*flags, "--predicate", "kissing"], capsys)
    with pytest.raises(Refusal):  # accepted: it goes on to loading models
        script.main([*flags, "--predicate", "hugging"])


def test_an_adapter_of_another_width_is_refused(no_models, base, triplets, tmp_path, capsys):
    config = json.loads((base / "relation_adapter" / "config.json").read_text())
    config["resampler_config"]["output_dim"] = 2048
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "config.json").write_text(json.dumps(config))
    flags = relation_arguments(base, triplets, tmp_path / "run", relation_adapter=tmp_path / "adapter")
    assert "must be made for `cross_attention_dim` 64, the base model's; this one was made for 2048" in refused(
        script, flags, capsys
    )
