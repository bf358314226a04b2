"""Self-distillation as a user runs it, on a tiny tower: killed, resumed, stopped, refused."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from relationbooth_pipeline import LocalImageEncoder
from tests.tiny import photo, tiny_pipeline, tiny_vision
from training import train_local_image_encoder as script
from training.checkpoints import Checkpoints
from training.encoder_arguments import build_parser
from training.region_distillation import average_weights

ROOT = Path(__file__).parents[2]
WEIGHTS = "model.safetensors"
STEPS = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A CLIP vision tower and a folder of pictures, one of them in a subfolder."""
    root = tmp_path_factory.mktemp("world")
    tiny_vision().save_pretrained(root / "tower")
    (root / "pictures" / "more").mkdir(parents=True)
    for i in range(5):
        photo(i, (40 + 4 * i, 36)).save(root / "pictures" / ("more" if i == 4 else "") / f"{i}.png")
    return root


def arguments(world, output, **changes) -> list[str]:
    values = {
        "pretrained_model_name_or_path": world / "tower",
        "train_data_dir": world / "pictures",
        "output_dir": output,
        "train_batch_size": 2,
        "max_train_steps": STEPS,
        "checkpointing_steps": 2,
        "learning_rate": 1e-3,
        "lr_scheduler": "cosine",
        **changes,
    }
    flags = []
    for name, value in values.items():
        if value is not None and value is not False:
            flags += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return flags


def start(flags, launcher=("-m",)) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, *launcher, "training.train_local_image_encoder", *flags]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def whole_run(world, tmp_path_factory):
    """Output folder of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "run"
    script.main(arguments(world, output))
    return output


def assert_same_bits(folder, other):
    expected, found = load_file(other / WEIGHTS), load_file(folder / WEIGHTS)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_what_a_run_leaves(whole_run, world):
    encoder = LocalImageEncoder.from_pretrained(whole_run)
    original = load_file(world / "tower" / WEIGHTS)
    moved = {name for name, weight in encoder.state_dict().items() if not torch.equal(weight, original[name])}
    blocks = {name for name in original if ".layers." in name}
    unread = {name for name in blocks if ".layers.2.self_attn.q_proj" in name or ".layers.2.self_attn.k_proj" in name}
    assert moved == blocks - unread
    assert (whole_run / "loss.png").stat().st_size > 1000
    assert not [path for path in whole_run.iterdir() if path.name.startswith(".")]
    assert {path.name for path in Checkpoints(whole_run).path(STEPS).iterdir()} >= {script.TRAINED, "manifest.json"}


def test_the_encoder_serves_an_adapter(whole_run, world):
    pipe = tiny_pipeline()
    pipe.register_modules(local_image_encoder=LocalImageEncoder.from_pretrained(whole_run))
    found = pipe.encode_image_prompts([photo(0)], ["cat"])
    assert found is not None


def test_killed_and_resumed_it_ends_with_the_same_bits(whole_run, world, tmp_path):
    output = tmp_path / "run"
    flags = [*arguments(world, output), "--resume_from_checkpoint", "latest"]
    process = start(flags)
    # The hidden folder exists while a checkpoint is being written.
    while not Checkpoints(output).unfinished(4).exists() and not Checkpoints(output).path(4).exists():
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert not (output / "config.json").exists()
    script.main(flags)
    assert_same_bits(output, whole_run)


def test_two_processes_equal_one_with_twice_the_batch(world, tmp_path):
    """Also though regions are not as many in both: the loss is the mean over all regions of a step."""
    # Adam's step is almost the gradient then, and not its sign, which rounding decides where a gradient is near zero.
    same = {"max_train_steps": 2, "max_grad_norm": 1e9, "adam_epsilon": 1.0, "learning_rate": 1.0}
    same |= {"lr_scheduler": "constant", "adam_weight_decay": 0.0, "original_share": 0.0}
    script.main(arguments(world, tmp_path / "one", train_batch_size=4, **same))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")
    process = start(arguments(world, tmp_path / "two", **same), launcher)
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0 and "processes: 2" in output, output
    one, two, original = (
        load_file(folder / WEIGHTS) for folder in (tmp_path / "one", tmp_path / "two", world / "tower")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-4)
    assert max((one[name] - original[name]).abs().max() for name in one) > 1e-3  # it did learn


def test_the_result_is_the_average_with_the_original(whole_run, world, tmp_path):
    """The same run exported with other shares; the last checkpoint holds the student itself."""
    student = load_file(Checkpoints(whole_run).path(STEPS) / script.TRAINED)
    original = load_file(world / "tower" / WEIGHTS)
    for share in (0.05, 0.5, 0.0):
        shutil.copytree(whole_run, tmp_path / str(share))
        flags = arguments(world, tmp_path / str(share), original_share=share, resume_from_checkpoint="latest")
        script.main(flags)
        found = load_file(tmp_path / str(share) / WEIGHTS)
        expected = average_weights(student, {name: original[name] for name in student}, 1 - share)
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name


def test_only_the_chosen_blocks_get_gradients_and_the_loss_falls(world, tmp_path):
    flags = arguments(
        world, tmp_path, trainable_blocks=1, max_train_steps=40, lr_scheduler="constant", original_share=0.0,
        gradient_checkpointing=True, max_split=2, checkpointing_steps=100,
    )  # fmt: skip
    seen = []
    before = script.run_steps

    def spy(accelerator, args, steps, run_step, history, rate):
        before(accelerator, args, steps, run_step, history, rate)
        seen.extend(row["loss"] for row in history.rows)

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


def test_sigterm_saves_and_leaves(world, whole_run, tmp_path, monkeypatch):
    flags = arguments(world, tmp_path, checkpointing_steps=100)
    loss = script.region_distillation_loss

    def terminated(*features):
        os.kill(os.getpid(), signal.SIGTERM)
        return loss(*features)

    with monkeypatch.context() as patch:
        patch.setattr(script, "region_distillation_loss", terminated)
        with pytest.raises(SystemExit) as caught:
            script.main(flags)
    assert caught.value.code == 128 + signal.SIGTERM
    assert Checkpoints(tmp_path).resume("latest") == 1
    script.main([*flags, "--resume_from_checkpoint", "latest"])
    assert_same_bits(tmp_path, whole_run)


def test_a_loss_that_is_not_finite_names_step_and_pictures(world, tmp_path, monkeypatch):
    calls, loss = [], script.region_distillation_loss

    def poisoned(*features):
        calls.append(0)
        return loss(*features) * (float("nan") if len(calls) == 6 else 1)  # the second picture of the third step

    monkeypatch.setattr(script, "region_distillation_loss", poisoned)
    with pytest.raises(
        SystemExit, match=r"the loss of step 3 is not finite for .*/\d\.png\. The weights before it are"
    ):
        script.main(arguments(world, tmp_path))
    assert Checkpoints(tmp_path).steps() == [2]
    assert not (tmp_path / "config.json").exists()


def test_a_stream_resumes_where_it_was(world, tmp_path):
    """Also beyond the end of an epoch: five pictures, two a step."""
    folder = tmp_path / "data"
    shutil.copytree(world / "pictures", folder, ignore=shutil.ignore_patterns("more"))
    changes = {"train_data_dir": None, "dataset_name": folder, "streaming": True, "shuffle_buffer": 3}
    script.main(arguments(world, tmp_path / "whole", **changes))
    flags = arguments(world, tmp_path / "run", **{**changes, "max_train_steps": 3})
    with pytest.MonkeyPatch.context() as patch:
        # The whole run's schedule, cut short: a resumed run would see another cosine otherwise.
        schedule = script.get_scheduler
        patch.setattr(script, "get_scheduler", lambda *a, **k: schedule(*a, **{**k, "num_training_steps": STEPS}))
        script.main(flags)
    script.main(
        arguments(world, tmp_path / "run", **changes, resume_from_checkpoint="latest", dataloader_num_workers=1)
    )
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


class Refusal(Exception):
    pass


@pytest.fixture
def no_models(monkeypatch):
    """Loading a model is an error here: refusals come first."""

    def refuse(*args, **kwargs):
        raise Refusal("a model is being loaded")

    monkeypatch.setattr(script, "load_towers", refuse)


def refused(flags, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        script.main(flags)
    return f"{caught.value} {capsys.readouterr().err}"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_data_dir": "nowhere"}, "must be a folder of pictures, there is no `nowhere`"),
        ({"train_data_dir": ROOT / "tests" / "training"}, "holds no pictures, also not in its subfolders"),
        ({"train_data_dir": None}, "must be given, got none"),
        ({"dataset_name": "a/b"}, "must be given, got train_data_dir, dataset_name"),
        ({"streaming": True}, "`--streaming` belongs to `--dataset_name`"),
        ({"train_data_dir": None, "webdataset_urls": "a.tar", "max_train_steps": None}, "a stream's length is unknown"),
        ({"train_data_dir": None, "webdataset_urls": "no.tar"}, "`--webdataset_urls` could not be read"),
        ({"train_batch_size": 0}, "`--train_batch_size` must be at least 1, got 0."),
        ({"original_share": 1.0}, "`--original_share` must be in [0, 1), got 1.0."),
        ({"trainable_blocks": 4}, "`--trainable_blocks` must be at most 3, the tower's, got 4."),
        (
            {"image_scale": 2},
            "`--max_split` must be at most 4, the patches along a side of the student's input, got 6.",
        ),
        (
            {"pretrained_model_name_or_path": ROOT / "tests"},
            "must be a CLIP folder or repository (`model_type` clip or ",
        ),
        ({"resume_from_checkpoint": "checkpoint-7"}, "must be 'latest' or one of none"),
    ],
)
def test_bad_arguments_are_refused_before_any_model(no_models, world, tmp_path, capsys, changes, message):
    assert message in refused(arguments(world, tmp_path / "run", **changes), capsys)


def test_another_run_in_the_folder_is_refused(no_models, whole_run, world, capsys):
    assert "holds another run. Go on with it" in refused(arguments(world, whole_run), capsys)
    other = arguments(world, whole_run, learning_rate=0.5, resume_from_checkpoint="latest")
    assert "--learning_rate 0.001 → 0.5" in refused(other, capsys)


def test_other_pictures_are_refused_on_resume(no_models, whole_run, world, tmp_path, capsys):
    """A folder with more pictures would be another order."""
    shutil.copytree(world / "pictures", tmp_path / "pictures")
    shutil.copytree(whole_run, tmp_path / "run")
    flags = arguments(world, tmp_path / "run", resume_from_checkpoint="latest")
    photo(9).save(world / "pictures" / "new.png")
    try:
        assert "--picture_count 5 → 6" in refused(flags, capsys)
    finally:
        (world / "pictures" / "new.png").unlink()


def test_a_tower_of_another_kind_is_refused(no_models, world, tmp_path, capsys):
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "config.json").write_text('{"model_type": "siglip"}')
    flags = arguments(world, tmp_path / "run", pretrained_model_name_or_path=tmp_path / "tower")
    assert "(`model_type` clip or clip_vision_model in its config.json), got " in refused(flags, capsys)


def test_the_guide_names_real_options():
    guide = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
    commands = guide.split("training.train_local_image_encoder")[1:]
    used = {flag for text in commands for flag in re.findall(r"--\w+", re.split(r"\n[^ ]|```", text)[0])}
    known = set(build_parser()._option_string_actions)
    assert len(used) > 10 and not used - known
    section = guide.split("## A local image encoder")[1].split("\n## ")[0]
    others = {"--num_processes", "--count", "--text_encoder", "--image_encoder"}
    assert set(re.findall(r"--[a-z]+_\w+", section)) <= known | others
