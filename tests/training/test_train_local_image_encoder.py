"""Self-distillation as a user runs it, on a tiny tower: killed, resumed, stopped, refused."""

import shutil
import time

import pytest
import torch
from safetensors.torch import load_file

from relationbooth_pipeline import LocalImageEncoder
from tests.tiny import photo, tiny_pipeline, tiny_vision
from tests.training.conftest import ENCODER_STEPS, encoder_arguments
from tests.training.programs import assert_same_bits, finish, start, start_two, terminate_in
from training import train_local_image_encoder as script
from training.common.checkpoints import Checkpoints
from training.encoder.distillation import average_weights

PROGRAM = "train_local_image_encoder"
WEIGHTS = "model.safetensors"


def test_what_a_run_leaves(encoder_run, world):
    encoder = LocalImageEncoder.from_pretrained(encoder_run)
    original = load_file(world / "tower" / WEIGHTS)
    moved = {name for name, weight in encoder.state_dict().items() if not torch.equal(weight, original[name])}
    blocks = {name for name in original if ".layers." in name}
    unread = {name for name in blocks if ".layers.2.self_attn.q_proj" in name or ".layers.2.self_attn.k_proj" in name}
    assert moved == blocks - unread
    assert (encoder_run / "loss.png").stat().st_size > 1000
    assert not [path for path in encoder_run.iterdir() if path.name.startswith(".")]
    assert {path.name for path in Checkpoints(encoder_run).path(ENCODER_STEPS).iterdir()} >= {
        script.TRAINED,
        "manifest.json",
    }


def test_the_encoder_serves_an_adapter(encoder_run, world):
    pipe = tiny_pipeline()
    pipe.register_modules(local_image_encoder=LocalImageEncoder.from_pretrained(encoder_run))
    found = pipe.encode_image_prompts([photo(0)], ["cat"])
    assert found is not None


def test_killed_and_resumed_it_ends_with_the_same_bits(encoder_run, world, tmp_path):
    output = tmp_path / "run"
    flags = [*encoder_arguments(world, output), "--resume_from_checkpoint", "latest"]
    process = start(PROGRAM, flags)
    # The hidden folder exists while a checkpoint is being written.
    while not Checkpoints(output).unfinished(4).exists() and not Checkpoints(output).path(4).exists():
        assert process.poll() is None, process.output()
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert not (output / "config.json").exists()
    script.main(flags)
    assert_same_bits(output, encoder_run, WEIGHTS)


def test_two_processes_equal_one_with_twice_the_batch(world, tmp_path):
    """Also though crops are not as many in both: the loss is the mean over all crops of a step."""
    # Adam's step is almost the gradient then, and not its sign, which rounding decides where a gradient is near zero.
    same = {"max_train_steps": 2, "max_grad_norm": 1e9, "adam_epsilon": 1.0, "learning_rate": 1.0}
    same |= {"lr_scheduler": "constant", "adam_weight_decay": 0.0, "original_share": 0.0}
    script.main(encoder_arguments(world, tmp_path / "one", train_batch_size=4, **same))
    assert "processes: 2" in finish(*start_two(PROGRAM, encoder_arguments(world, tmp_path / "two", **same)))
    one, two, original = (
        load_file(folder / WEIGHTS) for folder in (tmp_path / "one", tmp_path / "two", world / "tower")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-4)
    assert max((one[name] - original[name]).abs().max() for name in one) > 1e-3  # it did learn


def test_the_result_is_the_average_with_the_original(encoder_run, world, tmp_path):
    """The same run exported with other shares; the last checkpoint holds the student itself."""
    student = load_file(Checkpoints(encoder_run).path(ENCODER_STEPS) / script.TRAINED)
    original = load_file(world / "tower" / WEIGHTS)
    for share in (0.05, 0.5, 0.0):
        shutil.copytree(encoder_run, tmp_path / str(share))
        flags = encoder_arguments(world, tmp_path / str(share), original_share=share, resume_from_checkpoint="latest")
        script.main(flags)
        found = load_file(tmp_path / str(share) / WEIGHTS)
        expected = average_weights(student, {name: original[name] for name in student}, 1 - share)
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name


def test_only_the_chosen_blocks_get_gradients_and_the_loss_falls(world, tmp_path):
    flags = encoder_arguments(
        world, tmp_path, trainable_blocks=1, max_train_steps=40, lr_scheduler="constant", original_share=0.0,
        gradient_checkpointing=True, max_split=2, checkpointing_steps=100,
    )  # fmt: skip
    seen = []
    before = script.run_steps

    def spy(run, steps, run_step):
        before(run, steps, run_step)
        seen.extend(row["loss"] for row in run.history.rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "run_steps", spy)
        script.main(flags)
    assert sum(seen[-10:]) < 0.7 * sum(seen[:10])
    found, original = load_file(tmp_path / WEIGHTS), load_file(world / "tower" / WEIGHTS)
    moved = {name for name in original if not torch.equal(found[name], original[name])}
    assert moved and all(".layers.2." in name for name in moved)


def test_gradients_exist_exactly_where_weights_train():
    student = tiny_vision(LocalImageEncoder)
    trained = script.trainable_weights(student, 2)
    student(
        torch.randn(1, 3, 112, 112), boxes=torch.tensor([[[0, 0, 1, 1], [0, 0, 0.5, 0.5]]]), project=True
    ).sum().backward()
    touched = {name for name, weight in student.named_parameters() if weight.grad is not None}
    assert touched == set(trained) and {name.split(".")[3] for name in trained} == {"1", "2"}
    assert not any("layers.2.self_attn.q" in name or "layers.2.self_attn.k" in name for name in trained)


def test_sigterm_saves_and_leaves(world, encoder_run, tmp_path, monkeypatch):
    flags = encoder_arguments(world, tmp_path, checkpointing_steps=100)
    terminate_in(script, "crop_distillation_loss", flags, monkeypatch)
    assert Checkpoints(tmp_path).resume("latest") == 1
    script.main([*flags, "--resume_from_checkpoint", "latest"])
    assert_same_bits(tmp_path, encoder_run, WEIGHTS)


def test_a_loss_that_is_not_finite_names_step_and_pictures(world, tmp_path, monkeypatch):
    calls, loss = [], script.crop_distillation_loss

    def poisoned(*features):
        calls.append(0)
        return loss(*features) * (float("nan") if len(calls) == 6 else 1)  # the second picture of the third step

    monkeypatch.setattr(script, "crop_distillation_loss", poisoned)
    with pytest.raises(
        SystemExit, match=r"the loss of step 3 is not finite for .*/\d\.png\. The weights before it are"
    ):
        script.main(encoder_arguments(world, tmp_path))
    assert Checkpoints(tmp_path).steps() == [2]
    assert not (tmp_path / "config.json").exists()


def test_a_gradient_that_is_not_finite_leaves_the_weights_before_it(world, tmp_path, monkeypatch):
    calls, loss = [], script.crop_distillation_loss

    def poisoned(features, expected):
        """The same number; at the second picture of the third step its gradient is 0 · ∞."""
        calls.append(0)
        return loss(features, expected) + ((features.sum() * 0).abs().sqrt() if len(calls) == 6 else 0)

    monkeypatch.setattr(script, "crop_distillation_loss", poisoned)
    with pytest.raises(
        SystemExit, match=r"the gradient of step 3 is not finite, .* Lower `--learning_rate` in a new folder"
    ):
        script.main(encoder_arguments(world, tmp_path, checkpoints_total_limit=1))
    assert Checkpoints(tmp_path).steps() == [2]
    saved = load_file(Checkpoints(tmp_path).path(2) / script.TRAINED)
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_resumed_after_a_loss_amid_accumulated_batches_it_ends_with_the_same_bits(world, tmp_path, monkeypatch):
    flags = {"train_batch_size": 1, "gradient_accumulation_steps": 2}
    script.main(encoder_arguments(world, tmp_path / "whole", **flags))
    calls, loss = [], script.crop_distillation_loss

    def poisoned(*features):
        calls.append(0)
        return loss(*features) * (float("nan") if len(calls) == 5 else 1)  # the first of two batches of step 3

    with monkeypatch.context() as patch:
        patch.setattr(script, "crop_distillation_loss", poisoned)
        with pytest.raises(SystemExit, match="the loss of step 3 is not finite"):
            script.main(encoder_arguments(world, tmp_path / "run", **flags))
    script.main(encoder_arguments(world, tmp_path / "run", **flags, resume_from_checkpoint="latest"))
    assert_same_bits(tmp_path / "run", tmp_path / "whole", WEIGHTS)


def test_a_stream_resumes_where_it_was(world, tmp_path, monkeypatch):
    """Also beyond the end of an epoch: five pictures, two a step."""
    folder = tmp_path / "data"
    shutil.copytree(world / "pictures", folder, ignore=shutil.ignore_patterns("more"))
    changes = {"train_data_dir": None, "dataset_name": folder, "streaming": True, "shuffle_buffer": 3}
    script.main(encoder_arguments(world, tmp_path / "whole", **changes))
    terminate_in(
        script, "crop_distillation_loss", encoder_arguments(world, tmp_path / "run", **changes), monkeypatch, calls=5
    )
    assert Checkpoints(tmp_path / "run").resume("latest") == 3
    script.main(
        encoder_arguments(world, tmp_path / "run", **changes, resume_from_checkpoint="latest", dataloader_num_workers=1)
    )
    assert_same_bits(tmp_path / "run", tmp_path / "whole", WEIGHTS)
