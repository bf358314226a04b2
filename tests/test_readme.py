"""The README agrees with the disk, and its code runs."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import photo, tiny_pipeline
from training.relation_arguments import build_parser

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


def test_the_training_guide_names_real_options():
    guide = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
    known = set(build_parser()._option_string_actions)
    blocks = [b for b in re.findall(r"```bash\n(.*?)```", guide, re.DOTALL) if "train_relation_lora_sdxl" in b]
    commands = "\n".join(blocks).split("training.train_relation_lora_sdxl")[1:]
    used = {flag for command in commands for flag in re.findall(r"--\w+", command)}
    table = set(re.findall(r"^\| `(--\w+)`", guide, re.MULTILINE))
    assert len(used) > 10 and len(table) > 3 and not (used | table) - known
