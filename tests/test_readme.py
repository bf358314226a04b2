"""The README agrees with the disk, and its code runs."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from docs.files import file_map
from tests.tiny import photo, tiny_pipeline
from training.adapter import arguments as adapter_arguments
from training.encoder import arguments as encoder_arguments
from training.lora import arguments as relation_arguments

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(<!-- run -->\n)?```python\n(.*?)```", README, re.DOTALL)


def test_the_file_map_is_written_from_the_files():
    assert (ROOT / "docs" / "files.md").read_text(encoding="utf-8") == file_map(), "run `python -m docs.files`"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("code", [code for _, code in BLOCKS])
def test_python_blocks_compile(code):
    ast.parse(code)


def test_marked_blocks_run():
    pipe = tiny_pipeline()
    left = np.zeros((64, 64), dtype=bool)
    left[:, :32] = True
    names = {
        # Two steps instead of fifty: the blocks show the call, not the picture.
        "pipe": pipe,
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
