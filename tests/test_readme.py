"""The README agrees with the disk, and its code runs."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import photo, tiny_pipeline
from training import adapter_arguments, encoder_arguments, relation_arguments

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(<!-- run -->\n)?```python\n(.*?)```", README, re.DOTALL)
MAPPED = set(re.findall(r"^\| `(\S+)` \|", README, re.MULTILINE))
FOLDERS = ("relationbooth_pipeline", "training", "benchmarks", "hub_cards")


def test_file_map_names_what_exists():
    missing = [name for name in MAPPED if not (ROOT / name).exists()]
    assert MAPPED and not missing, f"in the README's file map, not on disk: {missing}"


def test_file_map_is_complete():
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    found = {file.relative_to(ROOT).as_posix() for file in files if file.read_text().strip()}
    assert not found - MAPPED, f"on disk, not in the README's file map: {sorted(found - MAPPED)}"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("code", [code for _, code in BLOCKS])
def test_python_blocks_compile(code):
    ast.parse(code)


def test_marked_blocks_run():
    pipe = tiny_pipeline()
    components = pipe.components
    plain = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
    left = np.zeros((64, 64), dtype=bool)
    left[:, :32] = True
    names = {
        # Two steps instead of fifty: the blocks show the call, not the picture.
        "pipe": pipe,
        "pipe_components": {name: components[name] for name in plain},
        "prompt": "a cat and a bear",
        "cat": photo(0),
        "bear": photo(1),
        "picture": photo(2, (64, 64)),
        "cat_mask": left,
        "bear_mask": ~left,
    }
    call = type(pipe).__call__

    class Quick(type(pipe)):
        def __call__(self, *args, **kwargs):
            return call(self, *args, **{"num_inference_steps": 2, "output_type": "latent", **kwargs})

    pipe.__class__ = Quick
    blocks = [code for marked, code in BLOCKS if marked]
    assert blocks
    for code in blocks:
        exec(compile(code, "README.md", "exec"), names)


GUIDE = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
PARSERS = {
    "train_relation_lora_sdxl": relation_arguments.build_parser(),
    "train_local_image_encoder": encoder_arguments.build_parser(),
    "train_relation_adapter_sdxl": adapter_arguments.build_parser(),
}


@pytest.mark.parametrize("program", PARSERS)
def test_the_training_guide_s_commands_have_real_options(program):
    known = set(PARSERS[program]._option_string_actions)
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)).replace("\\\n", " ")
    commands = [line.partition(f"training.{program} ")[2] for line in blocks.splitlines()]
    used = {flag for command in commands for flag in re.findall(r"--\w+", command)}
    assert len(used) > 10 and not used - known


def test_the_training_guide_s_tables_name_real_options():
    known = {option for parser in PARSERS.values() for option in parser._option_string_actions}
    first = re.findall(r"^\| (`--\w+`.*?) \|", GUIDE, re.MULTILINE)
    table = {flag for cell in first for flag in re.findall(r"--\w+", cell)}
    assert len(table) > 15 and not table - known
