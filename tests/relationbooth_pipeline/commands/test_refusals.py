"""`relationbooth generate` refuses what is wrong with the option's own name, before any model loads."""

import pytest
from PIL import Image

from tests.relationbooth_pipeline.commands.tiny_world import LEFT, PROMPT, RIGHT

ONE = ["--image", "PHOTO", "--phrase", "cat"]
REFUSALS = {
    "no phrase": (["--image", "PHOTO"], "every `--image` needs a `--phrase`"),
    "counts": (["--image", "PHOTO", "--image", "PHOTO", "--phrase", "cat"], "got 1 for 2 images"),
    "box count": (["--image", "PHOTO", "--phrase", "cat", "--box", LEFT, "--box", RIGHT], "one entry per `--image`"),
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
    "size": (["--height", "50"], "`--height` must be a multiple of 8 from 8 to 4096, got 50"),
    "steps": (["--steps", "0"], "`--steps` must be a whole number from 1 to 1000, got 0"),
    "rescale": (["--guidance-rescale", "2"], "`--guidance-rescale` must be a number from 0 to 1, got 2.0"),
    "seed": (["--seed", "-1"], "`--seed` must be a whole number from 0 to 4294967295, got -1"),
    "output folder": (["--output", "absent/one.png"], "does not exist"),
    "output kind": (["--output", "one.jpg"], "must end in .png"),
    "one file": (["--sheet", "relationbooth.png"], "must be two files"),
    "dtype": (["--dtype", "int8"], "`--dtype` must be one of"),
    "device": (["--device", "toaster"], "`--device` must be auto"),
    "offload": (["--offload", "model", "--device", "cpu"], "the device is the CPU"),
    "box of NaN": ([*ONE, "--box", "0,nan,1,1"], "`--box` must hold four finite numbers"),
    "box without end": ([*ONE, "--box", "0,0,1,inf"], "`--box` must hold four finite numbers"),
    "negative box": ([*ONE, "--box=-1,0,1,1"], "`--box` must be XYXY in [0, 1]"),
    "huge size": (["--width", "100000"], "`--width` must be a multiple of 8 from 8 to 4096, got 100000"),
    "negative size": (["--height", "-8"], "`--height` must be a multiple of 8"),
    "many steps": (["--steps", "1000000"], "`--steps` must be a whole number from 1 to 1000"),
    "guidance of NaN": (["--guidance-scale", "nan"], "`--guidance-scale` must be a number from 0 to 100, got nan"),
    "endless guidance": (["--guidance-scale", "inf"], "`--guidance-scale` must be"),
    "negative guidance": (["--guidance-scale", "-1"], "`--guidance-scale` must be"),
    "huge guidance": (["--guidance-scale", "1e9"], "`--guidance-scale` must be"),
    "rescale of NaN": (["--guidance-rescale", "nan"], "`--guidance-rescale` must be"),
    "γ of NaN": ([*ONE, "--image-prompt-scale", "nan"], "`--image-prompt-scale` must be a number from 0 to 10"),
    "endless γ": ([*ONE, "--image-prompt-scale", "inf"], "`--image-prompt-scale` must be"),
    "negative γ": ([*ONE, "--image-prompt-scale", "-0.6"], "`--image-prompt-scale` must be"),
    "γ without images": (["--image-prompt-scale", "99"], "`--image-prompt-scale` must be"),
    "huge seed": (["--seed", "99999999999"], "`--seed` must be a whole number from 0 to 4294967295"),
    "last seeds": (["--seed", "4294967295", "--count", "2"], "`--seed` of 2 pictures must be at most 4294967294"),
    "no picture": (["--count", "0"], "`--count` must be a whole number from 1 to 1000, got 0"),
    "LoRA of NaN": (["--lora", "hug:nan"], "`--lora PATH:WEIGHT` must be a number from 0 to 10, got nan"),
    "endless LoRA": (["--lora", "hug:inf"], "`--lora PATH:WEIGHT` must be"),
    "negative LoRA": (["--lora", "hug:-0.5"], "`--lora PATH:WEIGHT` must be"),
    "huge LoRA": (["--lora", "hug:1e3"], "`--lora PATH:WEIGHT` must be"),
    "LoRA of a word": (["--lora", "hug:much"], "`--lora` must be PATH or PATH:WEIGHT, a number, got 'hug:much'"),
    "missing LoRA file": (["--lora", "loras/x.safetensors"], "there is no `loras/x.safetensors`"),
    "image URL": (["--image", "https://a.org/cat.png", "--phrase", "cat"], "`--image` does not read URLs"),
    "model URL": (["--model", "https://huggingface.co/owner/name/tree/main"], "write `owner/name`"),
    "adapter URL": (["--adapter", "s3://bucket/adapter"], "`--adapter` does not read URLs"),
    "LoRA URL": (["--lora", "https://a.org/hug.safetensors"], "`--lora` does not read URLs"),
    "weighted URL": (["--lora", "https://a.org/hug:0.5"], "`--lora` does not read URLs"),
    "long name": (["--output", "a" * 260 + ".png"], "`--output`: a file cannot have this name"),
    "long names": (["--output", "a" * 251 + ".png", "--count", "2"], "`--output`: a file cannot have this name"),
    "long sheet": (["--sheet", "a" * 260 + ".png"], "`--sheet`: a file cannot have this name"),
    "sheet among several": (["--sheet", "relationbooth_1.png", "--count", "2"], "must be two files"),
    "empty phrase": (["--image", "PHOTO", "--phrase", " "], "`--phrase` must be the noun of its image"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_come_before_models_load(run, world, tmp_path, monkeypatch, name):
    def forbidden(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("relationbooth_pipeline.generation.drawing.load_pipeline", forbidden)
    arguments, message = REFUSALS[name]
    result = run("generate", "--prompt", PROMPT, *[world / "0.png" if a == "PHOTO" else a for a in arguments])
    assert result.exit_code == 1 and message in result.output, result.output
    assert "Traceback" not in result.output and len(result.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("port", ["700000", "-1"])
def test_a_port_that_is_none_is_refused(run, port):
    result = run("app", f"--port={port}")
    assert result.exit_code == 2 and "Invalid value for '--port'" in result.output, result.output


def test_a_photo_is_never_replaced(run, world, tmp_path):
    Image.open(world / "0.png").save("cat.png")
    before = (tmp_path / "cat.png").read_bytes()
    for name in ("cat.png", "../" + tmp_path.name + "/cat.png"):
        result = run("generate", "--prompt", PROMPT, "--image", "cat.png", "--phrase", "cat", "--output", name)
        assert result.exit_code == 1 and "`--output` would replace" in result.output, result.output
    assert (tmp_path / "cat.png").read_bytes() == before


def test_a_name_of_245_characters_is_written(run, tmp_path):
    name = "a" * 241 + ".png"
    result = run("generate", "--prompt", PROMPT, "--steps", 1, "--output", name)
    assert result.exit_code == 0 and Image.open(tmp_path / name).size == (64, 64), result.output
