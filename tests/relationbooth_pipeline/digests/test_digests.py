"""Contents told apart: what changes a digest, what does not, and that no weights are read twice."""

import json

import pytest

from relationbooth_pipeline import digests
from relationbooth_pipeline.digests import folder_digest, named_source, source_digest
from relationbooth_pipeline.vision.checkpoints import checkpoint_of


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "pytorch_model.bin", "a/weights.pt", "last.pth", "config.json", "tokenizer/vocab.json"],
)
def test_every_weight_and_config_decides_with_its_name(tmp_path, name):
    first = write(tmp_path / "1", {"other.bin": "x", name: "one"})
    same = write(tmp_path / "2", {"other.bin": "x", name: "one"})
    other = write(tmp_path / "3", {"other.bin": "x", name: "two"})
    moved = write(tmp_path / "4", {"other.bin": "x", f"moved/{name}": "one"})
    found = [folder_digest(folder) for folder in (first, same, other, moved)]
    assert found[0] == found[1] and len({*found}) == 3
    write(first, {"README.md": "words", "logs/loss.csv": "1", "results/metrics.json": "{}", "0.png": "p"})
    assert folder_digest(first) == found[0]


def test_of_a_pipeline_its_components_count(tmp_path):
    index = {"_class_name": "P", "unet": ["diffusers", "U"], "feature_extractor": [None, None], "force_zeros": True}
    folder = write(tmp_path, {"model_index.json": json.dumps(index), "unet/w.safetensors": "u"})
    before = folder_digest(folder)
    write(folder, {"relation_loras/hug/w.safetensors": "l", "evaluation/features/w.safetensors": "f"})
    assert folder_digest(folder) == before
    write(folder, {"unet/w.safetensors": "other"})
    assert folder_digest(folder) != before


def test_a_folder_without_weights_is_no_model(tmp_path):
    write(tmp_path, {"config.json": "{}", "flax_model.msgpack": "w"})
    with pytest.raises(
        ValueError, match=r"holds no weights \(\*.safetensors, \*.bin.*Name the folder that they are in"
    ):
        folder_digest(tmp_path)


def test_a_source_is_named_by_its_content_and_a_repository_by_its_name(tmp_path):
    file = write(tmp_path, {"base.safetensors": "b", "model/w.bin": "m"}) / "base.safetensors"
    assert named_source(file) == f"base.safetensors#{source_digest(file)}"
    assert named_source(f"{tmp_path}/model/.") == f"model#{folder_digest(tmp_path / 'model')}"
    assert named_source(tmp_path / "model", "mine").startswith("mine#")
    assert named_source("owner/name") == "owner/name" and source_digest("owner/name") is None


def test_weights_are_read_once(tmp_path, monkeypatch):
    read, sha256 = [], digests.sha256
    monkeypatch.setattr(digests, "sha256", lambda file: read.append(file) or sha256(file))
    folder = write(tmp_path, {"a.bin": "a", "b/c.safetensors": "c"})
    assert folder_digest(folder) == folder_digest(str(folder)) and len(read) == 2
    write(folder, {"a.bin": "another"})
    folder_digest(folder)
    assert len(read) == 3


def test_towers_of_pickled_weights_are_told_apart(tmp_path):
    """They all had the digest of no bytes at all, and shared each other's features."""
    config = json.dumps({"model_type": "vit"})
    told = [
        checkpoint_of(str(write(tmp_path / name / "tower", {"pytorch_model.bin": name, "config.json": config})))
        for name in ("1", "2")
    ]
    assert told[0] != told[1] and all(name.startswith("tower#") for name in told)
