"""A tiny model laid out as the miniature, and the commands run on it in an empty folder."""

import pytest
from typer.testing import CliRunner

from relationbooth_pipeline import miniature
from relationbooth_pipeline.commands.main import app
from tests.relationbooth_pipeline.commands.tiny_world import HUG, JUMP, write_lora
from tests.tiny import photo, tiny_pipeline


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder laid out as the miniature, and two photos."""
    root = tmp_path_factory.mktemp("cli")
    pipe, weights = tiny_pipeline(), root / "weights"
    pipe.save_relation_adapter(weights / "relation_adapter")
    pipe.unload_relation_adapter()
    pipe.save_pretrained(weights)
    for metadata in (HUG, JUMP):
        write_lora(pipe.unet, weights / "relation_loras" / metadata.relation, metadata)
    (weights / "references").mkdir()
    for i, name in enumerate(("bear", "cat")):
        photo(i).save(weights / "references" / f"{name}.png")
    for i in range(2):
        photo(i).save(root / f"{i}.png")
    return root


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    """Calls the command in an empty folder, the tiny world being the miniature."""
    monkeypatch.setattr(miniature, "path", lambda: world / "weights")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def two(world):
    """Arguments for two image prompts."""
    return ["--image", world / "0.png", "--phrase", "cat", "--image", world / "1.png", "--phrase", "plushie bear"]
