"""The shipped weights load, and tell nothing of the machine that trained them."""

import torch

from relationbooth_pipeline import RelationBoothPipeline, miniature


def test_they_load_with_their_adapter():
    pipe = RelationBoothPipeline.from_pretrained(miniature.path())
    models = [model for model in pipe.components.values() if isinstance(model, torch.nn.Module)]
    assert len(models) == 7 and {model.dtype for model in models} == {torch.float32}  # although the files are float16
    assert pipe.local_image_encoder is not None


def test_no_config_names_the_folder_it_was_trained_in():
    configs = list(miniature.path().rglob("*.json"))
    assert configs and not [file.name for file in configs if "_name_or_path" in file.read_text()]
