"""What `train_local_image_encoder.py` refuses, before it loads any model."""

import shutil

import pytest

from tests.tiny import photo
from tests.training.conftest import encoder_arguments
from tests.training.programs import ROOT, Refusal, one_byte_more, refuse_loading, refused
from training import train_local_image_encoder as script
from training.common.options import options
from training.encoder.arguments import parse_arguments
from training.encoder.crop_sources import PictureOptions, PictureStream, picture_facts


@pytest.fixture
def no_models(monkeypatch):
    monkeypatch.setattr(script, "load_towers", refuse_loading)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_data_dir": "nowhere"}, "must be a folder of pictures, there is no `nowhere`"),
        ({"train_data_dir": ROOT / "tests" / "training"}, "holds no pictures, also not in its subfolders"),
        ({"train_data_dir": None}, "must be given, got none"),
        ({"dataset_name": "a/b"}, "must be given, got train_data_dir, dataset_name"),
        ({"streaming": True}, "`--streaming` belongs to `--dataset_name`"),
        ({"train_data_dir": None, "webdataset_urls": "a.tar", "max_train_steps": None}, "a stream's length is unknown"),
        ({"train_data_dir": None, "webdataset_urls": "no.tar"}, "`--webdataset_urls` could not be read"),
        ({"train_batch_size": 0}, "`--train_batch_size` must be at least 1, got 0."),
        ({"original_share": 1.0}, "`--original_share` must be in [0, 1), got 1.0."),
        ({"trainable_blocks": 4}, "`--trainable_blocks` must be at most 3, the tower's, got 4."),
        (
            {"image_scale": 2},
            "`--max_split` must be at most 4, the patches along a side of the student's input, got 6.",
        ),
        (
            {"pretrained_model_name_or_path": ROOT / "tests"},
            "must be a CLIP folder or repository (`model_type` clip or ",
        ),
        ({"resume_from_checkpoint": "checkpoint-7"}, "must be 'latest' or one of none"),
    ],
)
def test_bad_arguments_are_refused_before_any_model(no_models, world, tmp_path, capsys, changes, message):
    assert message in refused(script, encoder_arguments(world, tmp_path / "run", **changes), capsys)


def test_another_run_in_the_folder_is_refused(no_models, encoder_run, world, capsys):
    assert "holds another run. Go on with it" in refused(script, encoder_arguments(world, encoder_run), capsys)
    other = encoder_arguments(world, encoder_run, learning_rate=0.5, resume_from_checkpoint="latest")
    assert "--learning_rate 0.001 → 0.5" in refused(script, other, capsys)


def test_other_pictures_are_refused_on_resume(no_models, encoder_run, world, tmp_path, capsys):
    """A folder with more pictures would be another order."""
    shutil.copytree(world / "pictures", tmp_path / "pictures")
    shutil.copytree(encoder_run, tmp_path / "run")
    flags = encoder_arguments(world, tmp_path / "run", resume_from_checkpoint="latest")
    photo(9).save(world / "pictures" / "new.png")
    try:
        assert "data: picture_count 5 → 6" in refused(script, flags, capsys)
    finally:
        (world / "pictures" / "new.png").unlink()


@pytest.mark.parametrize(
    "file, fact",
    [("pictures/more/4.png", "picture_files"), ("tower/model.safetensors", "pretrained_model_name_or_path")],
)
def test_other_files_of_the_same_names_are_refused_on_resume(
    no_models, encoder_run, world, tmp_path, capsys, file, fact
):
    shutil.copytree(encoder_run, tmp_path / "run")
    flags = encoder_arguments(world, tmp_path / "run", resume_from_checkpoint="latest")
    with one_byte_more(world / file):
        assert f"other arguments or data: {fact}_digest " in refused(script, flags, capsys)
    with pytest.raises(Refusal):  # accepted: it goes on to loading models
        script.main(flags)


def test_files_of_datasets_and_shards_on_this_machine_are_told_by_their_sizes(world, tmp_path):
    def facts(**changes):
        args = parse_arguments(encoder_arguments(world, tmp_path, train_data_dir=None, **changes))
        return picture_facts(options(PictureOptions, args), PictureStream([], "image", "", 0, 0))

    shard = tmp_path / "0.tar"
    shard.write_bytes(b"a")
    for changes, file in (
        ({"dataset_name": world / "pictures"}, world / "pictures" / "0.png"),
        ({"webdataset_urls": shard}, shard),
    ):
        before = facts(**changes)
        with one_byte_more(file):
            assert facts(**changes).keys() == before.keys() and facts(**changes) != before
        assert facts(**changes) == before
    assert facts(dataset_name="owner/pictures") == facts(webdataset_urls="https://a/0.tar") == {}


def test_a_tower_of_another_kind_is_refused(no_models, world, tmp_path, capsys):
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "config.json").write_text('{"model_type": "siglip"}')
    flags = encoder_arguments(world, tmp_path / "run", pretrained_model_name_or_path=tmp_path / "tower")
    assert "(`model_type` clip or clip_vision_model in its config.json), got " in refused(script, flags, capsys)
