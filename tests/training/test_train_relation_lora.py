"""The training script as a user runs it: in processes of its own, killed, resumed, in parallel."""

import random
import signal
import time

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_regions import read_relation_metadata
from tests.tiny import photo
from tests.training.conftest import RELATION_STEPS, relation_arguments
from tests.training.programs import (
    ROOT,
    Refusal,
    assert_same_bits,
    finish,
    refuse_loading,
    start,
    start_two,
    under_torchrun,
)
from training import train_relation_lora_sdxl as script
from training.common.checkpoints import Checkpoints
from training.lora import hub

PROGRAM = "train_relation_lora_sdxl"
WEIGHTS = "pytorch_lora_weights.safetensors"


def test_killed_at_random_and_resumed_it_ends_with_the_same_bits(relation_run, base, triplets, tmp_path):
    output, rng = tmp_path / "run", random.Random(0)
    flags = [
        *relation_arguments(base, triplets, output, checkpoints_total_limit=2),
        "--resume_from_checkpoint",
        "latest",
    ]
    for step in (2, 6):
        process = start(PROGRAM, flags)
        # The hidden folder exists while a checkpoint is being written: a kill right then, or a little later.
        unfinished = Checkpoints(output).unfinished(step)
        while not unfinished.exists() and not Checkpoints(output).path(step).exists():
            assert process.poll() is None, process.output()
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        assert not (output / WEIGHTS).exists()
    finish(start(PROGRAM, flags))
    expected, found = load_file(relation_run / WEIGHTS), load_file(output / WEIGHTS)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert Checkpoints(output).steps() == [RELATION_STEPS - 2, RELATION_STEPS]


def test_an_equal_run_of_another_process_writes_equal_files(relation_run, base, triplets, tmp_path, monkeypatch):
    """Byte for byte: weights, header, card, curve, pictures and checkpoints."""
    monkeypatch.setenv("PYTHONHASHSEED", "12345")
    validation = {"validation_prompt": "a cat is hugging a bear", "num_validation_images": 1}
    finish(start(PROGRAM, relation_arguments(base, triplets, tmp_path / "run", **validation)))
    ours, theirs = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "run", relation_run)
    )
    assert ours.keys() == theirs.keys()
    # Random states that nothing reads: this process has drawn numbers before its run.
    other = {path.name for path in ours if ours[path] != theirs[path]} - {"random_states_0.pkl", "manifest.json"}
    assert not other


def test_sigterm_saves_and_leaves(base, triplets, tmp_path):
    process = start(
        PROGRAM, relation_arguments(base, triplets, tmp_path, max_train_steps=10_000, checkpointing_steps=5_000)
    )
    # The bar is printed once steps run; the first step's line tells that the handler is in place.
    while "1/10000" not in process.output():
        assert process.poll() is None, process.output()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 128 + signal.SIGTERM, process.output()
    (step,) = Checkpoints(tmp_path).steps()
    assert step > 0 and Checkpoints(tmp_path).resume("latest") == step


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_equal_one_with_twice_the_batch(base, triplets, tmp_path, accumulation):
    """Also with accumulated batches: the samples of a step are the same, however they are shared out."""
    same = {"max_train_steps": 2, "gradient_accumulation_steps": accumulation, "max_grad_norm": 1e9}
    # Adam's step is almost the gradient then, and not its sign, which rounding decides where a gradient is near zero.
    same |= {"adam_epsilon": 1.0, "learning_rate": 1.0, "lr_scheduler": "constant"}
    script.main(relation_arguments(base, triplets, tmp_path / "one", train_batch_size=4, **same))
    flags = relation_arguments(base, triplets, tmp_path / "two", **same)
    told = under_torchrun(PROGRAM, flags) if accumulation == 1 else finish(*start_two(PROGRAM, flags))
    assert "processes: 2" in told
    one, two = (load_file(tmp_path / name / WEIGHTS) for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-4)
    assert max(tensor.abs().max() for name, tensor in one.items() if ".up." in name) > 1e-3  # it did learn


def test_what_a_run_leaves(relation_run):
    metadata = read_relation_metadata(relation_run / WEIGHTS)
    assert (metadata.relation, metadata.predicate) == ("is hugging", "is hugging")
    assert metadata.template == "a {0} is hugging a {1}"
    torch.testing.assert_close(metadata.layout_prior, [[0.0, 0.1, 0.5, 0.9], [0.5, 0.1, 1.0, 0.9]])
    card = (relation_run / "README.md").read_text(encoding="utf-8")
    assert 'subfolder="relation_adapter")' in card  # where the tiny base model keeps its adapter
    assert f"validation/step_{RELATION_STEPS}_with_0.png" in card and "a {0} is hugging a {1}" in card
    names = {path.name for path in (relation_run / "validation").iterdir()}
    assert names == {f"step_{RELATION_STEPS}_{kind}_0.png" for kind in ("with", "without")}
    pictures = [(relation_run / "validation" / name).read_bytes() for name in sorted(names)]
    assert pictures[0] != pictures[1]
    assert (relation_run / "loss.png").stat().st_size > 1000
    assert not [path for path in relation_run.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("pipeline_class", [RelationBoothPipeline, StableDiffusionXLPipeline])
def test_the_file_loads_here_and_in_plain_sdxl(relation_run, base, pipeline_class):
    pipe = pipeline_class.from_pretrained(base)
    pipe.set_progress_bar_config(disable=True)
    options = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "pt"}

    def draw():
        return pipe("a cat is hugging a bear", generator=torch.Generator().manual_seed(0), **options).images

    without = draw()
    pipe.load_lora_weights(relation_run, weight_name=WEIGHTS, adapter_name="hug")
    assert not torch.equal(draw(), without)
    pipe.unload_lora_weights()
    assert torch.equal(draw(), without)


def test_the_loss_of_a_run_is_logged(base, triplets, tmp_path):
    script.main(relation_arguments(base, triplets, tmp_path, max_train_steps=1, report_to="tensorboard"))
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


def test_a_loss_that_is_not_finite_names_step_and_sample(base, triplets, tmp_path, monkeypatch):
    def poisoned(*args, **kwargs):
        cached = encode(*args, **kwargs)
        for view in cached[2]:
            view.latent_mean.fill_(float("nan"))
        return cached

    encode = script.encode_triplets
    monkeypatch.setattr(script, "encode_triplets", poisoned)
    with pytest.raises(
        SystemExit, match=r"the loss of step \d+ is not finite for .*line 3\. The weights before it are"
    ):
        script.main(relation_arguments(base, triplets, tmp_path))
    (step,) = {s for s in Checkpoints(tmp_path).steps() if s % 2} or {Checkpoints(tmp_path).steps()[-1]}
    assert Checkpoints(tmp_path).resume("latest") == step
    saved = load_file(Checkpoints(tmp_path).path(step) / WEIGHTS)
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_validation_with_photos_of_ones_own(base, triplets, tmp_path):
    photo(3).save(tmp_path / "mine.png")
    same = {"max_train_steps": 1, "num_validation_images": 2, "report_to": "tensorboard"}
    flags = relation_arguments(base, triplets, tmp_path / "run", **same)
    own = ["--validation_prompt", "a dog is hugging", "--validation_images", str(tmp_path / "mine.png")]
    script.main([*flags, *own, "--validation_phrases", "dog"])
    assert (tmp_path / "run" / "validation" / "step_1_with_1.png").exists()
    events = EventAccumulator(
        str(next((tmp_path / "run" / "logs").rglob("events.out.tfevents*")).parent), {"images": 0}
    )
    events.Reload()
    assert {tag.partition("/")[0] for tag in events.Tags()["images"]} == {"with", "without"}
    # TensorBoard lays the two pictures of 64 pixels side by side.
    sizes = {(i.width, i.height) for tag in events.Tags()["images"] for i in events.Images(tag)}
    assert sizes == {(128, 64)}


def test_the_lora_is_written_before_the_last_validation(relation_run, base, triplets, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "draw_validation", refuse_loading)  # out of memory, or a full disk
    with pytest.raises(Refusal):
        script.main(relation_arguments(base, triplets, tmp_path, validation_prompt="a cat is hugging a bear"))
    assert_same_bits(tmp_path, relation_run, WEIGHTS)


def test_bfloat16_with_validation_on_the_way(base, triplets, tmp_path):
    """Frozen weights in bfloat16, the LoRA in float32; training goes on after the pictures."""
    same = {"mixed_precision": "bf16", "validation_steps": 1, "max_train_steps": 2, "num_validation_images": 1}
    flags = relation_arguments(base, triplets, tmp_path, validation_prompt="a cat is hugging a bear", **same)
    finish(start(PROGRAM, flags))  # a process of its own: accelerate keeps one precision for each
    assert {tensor.dtype for tensor in load_file(tmp_path / WEIGHTS).values()} == {torch.float32}
    assert len(list((tmp_path / "validation").iterdir())) == 4


def test_no_report_holds_the_token(base, triplets, tmp_path):
    flags = relation_arguments(
        base, triplets, tmp_path, max_train_steps=1, report_to="tensorboard", hub_token="hf_secret"
    )
    script.main(flags)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"hf_secret" in file.read_bytes()]


def test_a_hub_dataset_and_a_hub_upload(base, triplets, tmp_path, monkeypatch):
    """The Hub is simulated: the dataset comes from a local folder, the upload is noted."""
    seen = {}

    def download(name, repo_type, **kwargs):
        seen["dataset"] = (name, repo_type)
        return str(triplets)

    class Repository:
        repo_id = "someone/relation-lora"

    monkeypatch.setattr("training.common.triplet_arguments.snapshot_download", download)
    monkeypatch.setattr(hub, "whoami", lambda token: {"auth": {"accessToken": {"role": "write"}}})
    monkeypatch.setattr(hub, "create_repo", lambda *args, **kwargs: Repository)
    monkeypatch.setattr(hub, "upload_folder", lambda **kwargs: seen.update(kwargs))
    flags = relation_arguments(base, triplets, tmp_path / "run", max_train_steps=1, push_to_hub=True)
    at = flags.index("--train_data_dir")
    script.main([*flags[:at], "--dataset_name", "someone/hugs", *flags[at + 2 :]])
    assert seen["dataset"] == ("someone/hugs", "dataset")
    assert seen["repo_id"] == Repository.repo_id and "checkpoint-*" in seen["ignore_patterns"]
    assert Repository.repo_id in (tmp_path / "run" / "README.md").read_text()


def test_the_file_loads_through_the_folder_door(relation_run, base):
    folder = str(ROOT / "relationbooth_pipeline")
    pipe = DiffusionPipeline.from_pretrained(base, custom_pipeline=folder, trust_remote_code=True)
    pipe.load_lora_weights(relation_run, weight_name=WEIGHTS, adapter_name="hug")
    assert pipe.heaviest_relation().relation == "is hugging"
    torch.testing.assert_close(pipe.layout(2), read_relation_metadata(relation_run / WEIGHTS).layout_prior)
