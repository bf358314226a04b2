"""A run's output folder: what is in it decides whether a run begins, goes on, or is refused."""

import argparse
import json

import pytest

from training.common.loop_arguments import add_loop_options, settle_with_launcher
from training.common.options import LoopOptions, options
from training.common.run_folder import RUN_FILE, open_run

RESULT = "config.json"
DEFAULTS = {"train_batch_size": 1, "num_train_epochs": None, "max_train_steps": 5, "learning_rate": 0.1,
            "adam_weight_decay": 0.0, "lr_warmup_steps": 0, "checkpointing_steps": 1}  # fmt: skip


def open_in(folder, *flags, facts=None):
    parser = argparse.ArgumentParser()
    add_loop_options(parser, output_dir=str(folder), **DEFAULTS)
    args = parser.parse_args(flags)
    settle_with_launcher(parser, args, {})
    return open_run(options(LoopOptions, args), vars(args), facts or {}, {"resume_from_checkpoint"}, RESULT)


@pytest.mark.parametrize("resume", [[], ["--resume_from_checkpoint", "latest"]])
def test_a_result_whose_checkpoints_are_gone_is_not_replaced(tmp_path, resume):
    """Nor are its notes, which are all that tells how it was made."""
    assert open_in(tmp_path) == 0
    (tmp_path / RESULT).write_text("{}")
    before = (tmp_path / RUN_FILE).read_bytes()
    with pytest.raises(ValueError, match=r"holds a finished run without checkpoints\. Choose .* \(`config.json`\)"):
        open_in(tmp_path, *resume, "--learning_rate", "0.5")
    assert (tmp_path / RUN_FILE).read_bytes() == before
    (tmp_path / RESULT).unlink()
    assert open_in(tmp_path, *resume, "--learning_rate", "0.5") == 0
    assert json.loads((tmp_path / RUN_FILE).read_text())["learning_rate"] == 0.5
