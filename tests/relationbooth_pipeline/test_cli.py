"""The command line on tiny models: pictures, their settings, the demo, and refusals before models load."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from relationbooth_pipeline import RelationMetadata, miniature, write_relation_metadata
from relationbooth_pipeline.cli import ILLUSTRATION_ONLY, app
from relationbooth_pipeline.png_settings import read_png_settings
from relationbooth_pipeline.relation_attention import cross_attention_layers
from tests.tiny import photo, tiny_pipeline

PROMPT = "a cat is hugging a plushie bear"
LEFT, RIGHT = "0,0.2,0.55,0.85", "0.5,0.25,1,0.9"


BOXES = [[0.0, 0.1, 0.5, 0.9], [0.5, 0.1, 1.0, 0.9]]
HUG = RelationMetadata("hug", "is hugging", "a {0} is hugging a {1}", 0.7, BOXES)
JUMP = RelationMetadata("jump", "is jumping", "a {0} is jumping", 0.7, BOXES[:1])  # an action of one object


def write_lora(unet, folder, metadata, rank=2):
    """A RelationLoRA of every text cross-attention, with our header."""
    folder.mkdir(parents=True)
    modules, state = dict(unet.named_modules()), {}
    for path in cross_attention_layers(unet):
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            layer = modules[f"{path}.{name}"]
            state[f"unet.{path}.{name}.lora_A.weight"] = torch.randn(rank, layer.in_features)
            state[f"unet.{path}.{name}.lora_B.weight"] = torch.randn(layer.out_features, rank)
    file = folder / "pytorch_lora_weights.safetensors"
    save_file(state, file)
    write_relation_metadata(file, metadata)
    return file


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


def generate(run, *more, prompt=PROMPT):
    return run("generate", "--prompt", prompt, "--steps", 2, *more)


def test_picture_keeps_its_settings_and_repeats_from_them(run, two, tmp_path):
    arguments = [*two, "--box", LEFT, "--box", RIGHT, "--seed", 7, "--image-prompt-scale", 0.8, "--lora", "hug:0.5"]
    result = generate(run, *arguments, "--output", "one.png", "--negative-prompt", "red")
    assert result.exit_code == 0, result.output
    settings = read_png_settings("one.png")
    assert settings["prompt"] == PROMPT and settings["seed"] == 7 and settings["steps"] == 2
    assert settings["model"] == "miniature" and settings["lora"] == [["hug", 0.5]]
    assert settings["box"] == [[0, 0.2, 0.55, 0.85], [0.5, 0.25, 1, 0.9]]
    assert (settings["width"], settings["height"]) == Image.open("one.png").size == (64, 64)
    assert str(tmp_path) not in json.dumps({**settings, "image": None})
    told = run("info", "one.png")
    assert json.loads(told.output)["settings"] == settings
    generate(run, *arguments, "--output", "two.png", "--negative-prompt", "red")
    assert Image.open("one.png").tobytes() == Image.open("two.png").tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]  # no temporary file stays


def test_image_prompts_act_and_seed_is_drawn_and_kept(run, two):
    plain = generate(run, "--output", "plain.png", "--seed", 1)
    ours = generate(run, *two, "--output", "ours.png", "--seed", 1)
    assert plain.exit_code == ours.exit_code == 0, plain.output + ours.output
    assert Image.open("plain.png").tobytes() != Image.open("ours.png").tobytes()
    assert ILLUSTRATION_ONLY not in plain.output and ILLUSTRATION_ONLY in ours.output.replace("\n", " ")
    assert generate(run, "--output", "drawn.png").exit_code == 0
    assert isinstance(read_png_settings("drawn.png")["seed"], int)


def test_size_and_other_model_folders(run, two, world):
    result = generate(run, *two, "--model", world / "weights", "--height", 48, "--width", 80, "--dtype", "bfloat16")
    assert result.exit_code == 0, result.output
    assert Image.open("relationbooth.png").size == (80, 48)


def test_local_tokens_can_be_turned_off_by_name(run, two, world):
    adapter = ["--adapter", world / "weights" / "relation_adapter"]
    for name, more in (("with.png", []), ("without.png", ["--local-image-encoder", "none"])):
        result = generate(run, *two, *adapter, *more, "--seed", 1, "--output", name)
        assert result.exit_code == 0, result.output
    assert Image.open("with.png").tobytes() != Image.open("without.png").tobytes()


def test_lora_brings_its_weight_and_layout(run, two):
    result = generate(run, *two, "--lora", "hug")
    assert result.exit_code == 0, result.output
    settings = read_png_settings("relationbooth.png")
    assert settings["lora"] == [["hug", 0.7]]
    assert settings["box"] == [[0.0, 0.1, 0.5, 0.9], [0.5, 0.1, 1.0, 0.9]]


def test_sheet_shows_references_boxes_and_result(run, two):
    result = generate(run, *two, "--sheet", "sheet.png")
    assert result.exit_code == 0, result.output
    sheet = Image.open("sheet.png")
    assert sheet.width > 3 * 256 and sheet.height > 512
    # The first object's colour frames its reference and its box.
    assert (217, 48, 37) in {color for _, color in sheet.convert("RGB").getcolors(1 << 20)}
    assert read_png_settings("sheet.png")["prompt"] == PROMPT


def test_the_demo_shows_both_pictures_from_one_seed(run):
    result = run("demo", "--relation", "hug", "--seed", 3)
    assert result.exit_code == 0, result.output
    first = Image.open("demo.png")
    assert first.width > 3 * 512 + 256  # boxes and two results, and the references
    assert run("demo", "--relation", "hug", "--seed", 3, "--output", "again.png").exit_code == 0
    assert first.tobytes() == Image.open("again.png").tobytes()
    for other in (("--seed", 4), ("--seed", 3, "--weight", 0.5)):
        run("demo", "--relation", "hug", *other, "--output", "other.png")
        assert first.tobytes() != Image.open("other.png").tobytes()


def test_the_demo_of_an_action_shows_one_character(run):
    run("demo", "--relation", "hug", "--output", "two.png")
    result = run("demo", "--relation", "jump", "--output", "one.png")
    assert result.exit_code == 0, result.output
    assert Image.open("one.png").width == Image.open("two.png").width + 256  # one reference takes a whole panel


def test_the_demo_names_what_there_is(run):
    result = run("demo", "--relation", "dancing")
    assert result.exit_code == 1 and "`--relation` must be one of hug, jump, got 'dancing'" in result.output


def test_unknown_words_are_named_not_refused(run, two):
    result = generate(run, *two, prompt="a zebra is hugging a bear on the beach")
    assert result.exit_code == 0, result.output
    warning = result.output.partition("never saw these words and cannot draw them: ")[2].splitlines()[0]
    assert "zebra" in warning and "hugging" not in warning


REFUSALS = {
    "no phrase": (["--image", "PHOTO"], "every `--image` needs a `--phrase`"),
    "counts": (["--image", "PHOTO", "--image", "PHOTO", "--phrase", "cat"], "one entry per image prompt"),
    "box count": (["--image", "PHOTO", "--phrase", "cat", "--box", LEFT, "--box", RIGHT], "one entry per image prompt"),
    "pixel box": (["--image", "PHOTO", "--phrase", "cat", "--box", "0,0,300,400"], "XYXY in [0, 1]"),
    "reversed box": (["--image", "PHOTO", "--phrase", "cat", "--box", "0.9,0,0.1,1"], "x0 < x1"),
    "three numbers": (["--image", "PHOTO", "--phrase", "cat", "--box", "0,0,1"], "four finite numbers"),
    "words as box": (["--image", "PHOTO", "--phrase", "cat", "--box", "left"], "numbers in [0, 1]"),
    "phrase alone": (["--phrase", "cat"], "without `--image`"),
    "missing image": (["--image", "absent.png", "--phrase", "cat"], "no image file"),
    "adapter off": (["--image", "PHOTO", "--phrase", "cat", "--adapter", "none"], "turns image prompts off"),
    "adapter path": (["--adapter", "absent folder"], "there is no `absent folder`"),
    "encoder alone": (["--image-encoder", "owner/name"], "belongs to an adapter"),
    "model": (["--model", "no such model"], "there is no `no such model`"),
    "lora": (["--lora", "kiss"], "This model's own: hug"),
    "size": (["--height", "50"], "`--height` must be a positive multiple of 8, got 50"),
    "steps": (["--steps", "0"], "`--steps` must be at least 1"),
    "rescale": (["--guidance-rescale", "2"], "in [0, 1]"),
    "seed": (["--seed", "-1"], "`--seed` must be in"),
    "output folder": (["--output", "absent/one.png"], "does not exist"),
    "output kind": (["--output", "one.jpg"], "must end in .png"),
    "one file": (["--sheet", "relationbooth.png"], "must be two files"),
    "dtype": (["--dtype", "int8"], "`--dtype` must be one of"),
    "device": (["--device", "toaster"], "`--device` must be auto"),
    "offload": (["--offload", "model", "--device", "cpu"], "the device is the CPU"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_come_before_models_load(run, world, tmp_path, monkeypatch, name):
    def forbidden(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("relationbooth_pipeline.generation.load_pipeline", forbidden)
    arguments, message = REFUSALS[name]
    result = run("generate", "--prompt", PROMPT, *[world / "0.png" if a == "PHOTO" else a for a in arguments])
    assert result.exit_code == 1 and message in result.output, result.output
    assert "Traceback" not in result.output and len(result.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_faults_found_while_loading_are_clean_too(run, two, world, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    result = generate(run, "--model", broken)
    assert result.exit_code == 1 and "could not be loaded" in result.output, result.output
    plain = tmp_path / "plain"
    plain.symlink_to(world / "weights")
    result = generate(run, *two, "--adapter", world / "weights")
    assert result.exit_code == 1 and "no relation adapter" in result.output, result.output
    assert not (tmp_path / "relationbooth.png").exists()


def test_miniature_without_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ValueError, match="the miniature's weights are missing"):
        miniature.path()


def test_info_tells_adapters_loras_and_pipelines(run, world):
    weights = world / "weights"
    adapter = json.loads(run("info", weights / "relation_adapter").output)
    assert adapter["kind"] == "relation adapter" and adapter["tokens_per_object"] == 4
    assert adapter["brings"] == ["image_encoder", "local_image_encoder"]
    lora = json.loads(run("info", weights / "relation_loras" / "hug").output)
    layers = len(cross_attention_layers(tiny_pipeline(adapter=False).unet))
    assert lora["kind"] == "RelationLoRA" and lora["rank"] == [2] and lora["layers"] == 4 * layers
    assert lora["relation"]["predicate"] == "is hugging"
    pipeline = json.loads(run("info", weights).output)
    assert pipeline["components"]["unet"] == "UNet2DConditionModel" and pipeline["relation_loras"] == ["hug", "jump"]
    encoder = json.loads(run("info", weights / "relation_adapter" / "local_image_encoder").output)
    assert encoder["kind"] == "local image encoder"


def test_info_refuses_what_it_does_not_know(run, tmp_path):
    photo().save("photo.png")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    (tmp_path / "note.txt").write_text("x")
    for name, message in (
        ("photo.png", "carries no settings"),
        ("cut.safetensors", "no intact safetensors"),
        ("note.txt", "must be a folder"),
        ("absent", "there is no"),
    ):
        result = run("info", name)
        assert result.exit_code == 1 and message in result.output, result.output
