"""Two equal LoRAs are two equal files, byte for byte, also from two processes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors import safe_open
from safetensors.torch import load_file, save

from relationbooth_pipeline.relation_regions import RelationMetadata
from tests.tiny import tiny_unet
from tests.training.programs import ROOT
from training.lora.results import save_relation_lora, with_sorted_metadata
from training.lora.step import lora_target_modules

SAVE = "import sys; from tests.training.lora.test_results import saved; print(saved(sys.argv[1]))"


def saved(folder) -> str:
    """The hash of a RelationLoRA's file, always the same one."""
    unet = tiny_unet()
    torch.manual_seed(0)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=lora_target_modules(unet)))
    metadata = RelationMetadata("hug", "hugs", "a {0} hugs a {1}", layout_prior=[[0.0, 0.0, 0.5, 1.0]])
    return hashlib.sha256(save_relation_lora(unet, Path(folder), metadata).read_bytes()).hexdigest()


def test_the_order_of_sets_and_maps_is_not_in_the_file(tmp_path):
    sums = {saved(tmp_path)}  # and of this process's own seed
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", SAVE, tmp_path]
        sums.add(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.strip())
    assert len(sums) == 1


def test_sorting_the_metadata_moves_no_tensor(tmp_path):
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(5, dtype=torch.float16)}
    metadata = {name: f"ä{name}" for name in "zyxwvutsrq"}
    found = {with_sorted_metadata(save(tensors, metadata)) for _ in range(20)}
    assert len(found) == 1
    (tmp_path / "x.safetensors").write_bytes(found.pop())
    assert {n: t.tolist() for n, t in load_file(tmp_path / "x.safetensors").items()} == {
        n: t.tolist() for n, t in tensors.items()
    }
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == metadata
