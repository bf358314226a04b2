"""Tiny models, triplets and one unbroken run of each training program, made once for all tests."""

import pytest

from tests.tiny import photo, tiny_vision
from tests.tiny_training import save_checkpoint, save_triplets
from tests.training.programs import flags_of
from training import train_local_image_encoder, train_relation_adapter_sdxl, train_relation_lora_sdxl

RELATION_STEPS, ENCODER_STEPS, ADAPTER_STEPS = 12, 8, 2


def relation_arguments(base, triplets, output, **changes) -> list[str]:
    """Flags of `train_relation_lora_sdxl.py` on the tiny checkpoint."""
    values = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": triplets,
        "output_dir": output,
        "resolution": 64,
        "train_batch_size": 2,
        "max_train_steps": RELATION_STEPS,
        "checkpointing_steps": 2,
        "views_per_triplet": 2,
        "learning_rate": 1e-2,
        "lr_scheduler": "cosine",
        "kml_weight": 0.01,
        **changes,
    }
    return flags_of(values)


def encoder_arguments(world, output, **changes) -> list[str]:
    """Flags of `train_local_image_encoder.py` on the tiny tower."""
    values = {
        "pretrained_model_name_or_path": world / "tower",
        "train_data_dir": world / "pictures",
        "output_dir": output,
        "train_batch_size": 2,
        "max_train_steps": ENCODER_STEPS,
        "checkpointing_steps": 2,
        "learning_rate": 1e-3,
        "lr_scheduler": "cosine",
        **changes,
    }
    return flags_of(values)


def adapter_arguments(base, triplets, output, **changes) -> list[str]:
    """Flags of `train_relation_adapter_sdxl.py` on the tiny checkpoint, with the encoders beside it."""
    resampler = {"dim": 32, "depth": 1, "heads": 4, "dim_head": 8, "num_queries": 4}
    values = {
        "pretrained_model_name_or_path": base,
        "image_encoder": base / "relation_adapter" / "image_encoder",
        "local_image_encoder": base / "relation_adapter" / "local_image_encoder",
        "image_prompt_size": 64,
        "local_image_size": 112,
        "local_grid": 2,
        **{f"resampler_{name}": value for name, value in resampler.items()},
        "train_data_dir": triplets,
        "output_dir": output,
        "resolution": 64,
        "train_batch_size": 2,
        "max_train_steps": ADAPTER_STEPS,
        "checkpointing_steps": 1,
        "learning_rate": 1e-2,
        "lr_scheduler": "cosine",
        **changes,
    }
    return flags_of(values)


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def triplets(tmp_path_factory):
    return save_triplets(tmp_path_factory.mktemp("triplets"))


@pytest.fixture(scope="session")
def relation_run(base, triplets, tmp_path_factory):
    """Output folder of an uninterrupted run in this process."""
    output = tmp_path_factory.mktemp("whole") / "run"
    train_relation_lora_sdxl.main(
        relation_arguments(base, triplets, output, validation_prompt="a cat is hugging a bear", num_validation_images=1)
    )
    return output


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A CLIP vision tower and a folder of pictures, one of them in a subfolder."""
    root = tmp_path_factory.mktemp("world")
    tiny_vision().save_pretrained(root / "tower")
    (root / "pictures" / "more").mkdir(parents=True)
    for i in range(5):
        photo(i, (40 + 4 * i, 36)).save(root / "pictures" / ("more" if i == 4 else "") / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def encoder_run(world, tmp_path_factory):
    """Output folder of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "run"
    train_local_image_encoder.main(encoder_arguments(world, output))
    return output


@pytest.fixture(scope="session")
def adapter_run(base, triplets, tmp_path_factory):
    """Output folder of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "run"
    train_relation_adapter_sdxl.main(adapter_arguments(base, triplets, output))
    return output
