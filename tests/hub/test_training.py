"""Over real HTTP: a dataset of triplets and a base from the Hub → a RelationLoRA on the Hub → a picture."""

import json

import pytest
from huggingface_hub import ModelCard

from tests.hub.conftest import NAME

pytest.importorskip("accelerate")
pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from training.miniature.world.triplets import write_triplets

DATASET, LORA = "org/hugging-triplets", "org/hugging-lora"
UPLOAD = """
import sys
from huggingface_hub import HfApi

HfApi().create_repo(sys.argv[1], repo_type="dataset")
HfApi().upload_folder(repo_id=sys.argv[1], repo_type="dataset", folder_path="triplets")
"""
TRAIN = """
import sys
from training.train_relation_lora_sdxl import main

base, dataset, lora = sys.argv[1:4]
main(["--pretrained_model_name_or_path", base, "--dataset_name", dataset, "--output_dir", "run", "--push_to_hub",
      "--hub_model_id", lora, "--resolution", "128", "--max_train_steps", "1", "--train_batch_size", "2",
      "--learning_rate", "1e-3", "--image_prompt_scale", "1"])
"""
DRAW = """
import json, sys
from relationbooth_pipeline import RelationBoothPipeline

base, lora = sys.argv[1:3]
pipe = RelationBoothPipeline.from_pretrained(base)
pipe.load_lora_weights(lora)
relation = pipe.heaviest_relation()
print(json.dumps([relation.relation, relation.predicate, len(relation.layout_prior)]))
"""


def test_a_relation_lora_is_trained_from_the_hub_and_pushed_to_it(hub, client, published, tmp_path):
    write_triplets(tmp_path / "triplets", "hugging", 2)
    client(UPLOAD, tmp_path, DATASET)
    told = client(TRAIN, tmp_path, NAME, DATASET, LORA, fails=True, HF_TOKEN="hf_wrong")
    assert f"`--push_to_hub` cannot write to `{LORA}`" in told
    assert not list(tmp_path.glob("run/*.safetensors"))
    client(TRAIN, tmp_path, NAME, DATASET, LORA)
    repository = hub.repositories["model", LORA]
    files = repository["commits"][repository["main"]]
    assert {"README.md", "pytorch_lora_weights.safetensors", "is_hugging_kohya.safetensors"} <= set(files)
    assert not any(name.startswith(("checkpoint-", "logs", ".")) for name in files if name != ".gitattributes")
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == NAME and card.data.license == "apache-2.0"
    assert str(tmp_path) not in card.content and f'load_lora_weights("{LORA}"' in card.content
    home = tmp_path / "reader"
    home.mkdir()
    assert json.loads(client(DRAW, home, NAME, LORA).splitlines()[-1]) == ["is hugging", "is hugging", 2]


PUSH = """
import sys
from relationbooth_pipeline import RelationBoothPipeline, miniature

pipe = RelationBoothPipeline.from_pretrained(miniature.path())
pipe.save_pretrained("saved", push_to_hub=True, repo_id=sys.argv[1])
"""
READ = """
import json, sys
from relationbooth_pipeline import RelationBoothPipeline

told = []
for name in sys.argv[1:]:
    pipe = RelationBoothPipeline.from_pretrained(name)
    told += [type(pipe).__module__, pipe.relation_adapter is not None, pipe.local_image_encoder is not None]
print(json.dumps(told))
"""


def test_the_installed_class_reads_saved_pipelines_and_exported_ones_without_trusting_code(
    hub, client, published, tmp_path
):
    client(PUSH, tmp_path, "org/saved")
    repository = hub.repositories["model", "org/saved"]
    assert "/" not in repository["commits"][repository["main"]]["model_index.json"].decode()  # no path of a machine
    reader = tmp_path / "reader"
    reader.mkdir()
    told = json.loads(client(READ, reader, "org/saved", NAME).splitlines()[-1])
    assert told == ["relationbooth_pipeline.pipeline", True, True] * 2
