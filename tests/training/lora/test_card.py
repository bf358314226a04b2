"""The card says what is true: base, licence, trigger."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from relationbooth_pipeline.triplets import Triplet
from tests.training.conftest import relation_arguments
from training.common.options import options
from training.lora import card
from training.lora.arguments import RelationLoraOptions, parse_arguments
from training.lora.results import relation_metadata


def triplet(prompt: str, phrases=("cat", "bear"), predicate="hugs") -> Triplet:
    count = len(phrases)
    boxes = torch.tensor([[i / count, 0.0, (i + 1) / count, 1.0] for i in range(count)])
    points = torch.zeros(count, 17, 3)
    return Triplet(
        "line 1", Path("a.png"), [Path("b.png")] * count, prompt, list(phrases), predicate, boxes, None, points, points
    )


PARK = triplet("a cat hugs a bear in a park")
BEACH = triplet("an owl hugs a dog on a beach, at noon", ("owl", "dog"))


@pytest.mark.parametrize(
    "triplets, expected",
    [
        ([PARK], "a {0} hugs a {1}"),
        ([PARK, PARK, BEACH], "a {0} hugs a {1}"),
        ([PARK, triplet("in a park, a dog hugs a bear", ("dog", "bear"))], "a {0} hugs a {1}"),
        ([PARK, triplet("a cat hugs the bear")], "a {0} hugs"),
        ([triplet("a cat tightly hugs a bear."), triplet("a cat tightly hugs a bear!")], "a {0} tightly hugs a {1}"),
        ([PARK, BEACH, triplet("a cat hugs", ("cat",))], "a {0} hugs a {1}"),
        ([triplet("a cat is hugging a bear", predicate="is hugging")], "a {0} is hugging a {1}"),
    ],
)
def test_the_trigger_is_what_all_prompts_share_between_the_objects(triplets, expected):
    assert card.trigger_words(triplets, triplets[0].predicate) == expected


@pytest.fixture
def run(base, tmp_path):
    return options(RelationLoraOptions, parse_arguments(relation_arguments(base, "data", tmp_path)))


def written(run, folder, triplets=(PARK, PARK, BEACH)) -> ModelCard:
    metadata = relation_metadata(list(triplets), None, None)
    card.write_card(folder, run, metadata, list(triplets), "someone/hug", steps=7)
    return ModelCard.load(folder / "README.md")


def named(run, source):
    return replace(run, base=replace(run.base, pretrained_model_name_or_path=str(source)))


def test_a_local_base_is_named_without_the_way_to_it(run, base, tmp_path):
    found = written(run, tmp_path)
    assert base.name in found.text and str(base.parent) not in found.content
    assert "base_model" not in found.data.to_dict()  # the Hub takes a repository's name there
    assert f'load_relation_adapter("{base.name}", subfolder="relation_adapter")' in found.text


def test_the_trigger_holds_no_background(run, tmp_path):
    found = written(run, tmp_path)
    assert found.data.instance_prompt == "hugs" and "`a {0} hugs a {1}`" in found.text
    assert "{0}" not in found.text.split("image = pipe(")[1].split(")")[0]  # a prompt that can be typed


def test_the_code_of_the_card_compiles_whatever_quotes_its_words_hold(run, tmp_path):
    run = replace(run, adapter=replace(run.adapter, relation_adapter="it's/mine", local_image_encoder="none"))
    run = replace(run, validation=replace(run.validation, validation_prompt='a cat hugs a "bear"'))
    code = written(run, tmp_path).text.split("```python\n")[1].split("```")[0]
    names = {ast.unparse(node) for node in ast.walk(ast.parse(code.replace("…", "..."))) if isinstance(node, ast.Call)}
    assert 'pipe.load_relation_adapter("it\'s/mine", local_image_encoder=None)' in names


def test_the_card_tells_the_other_tools_file_and_asks_for_consent(run, tmp_path):
    text = written(run, tmp_path).text
    assert text.count("`hugs_kohya.safetensors`") == 2 and "<lora:hugs_kohya:1>" in text
    assert "of people with their consent only" in text and "told as generated" in text


def test_the_licence_is_the_base_s_own(run, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    assert written(named(run, model), tmp_path).data.license == "other"
    text = "---\nlicense: other\nlicense_name: some-name\nlicense_link: https://example.org\n---\n"
    for head, expected in (("---\nlicense: apache-2.0\n---\n", ("apache-2.0", None)), (text, ("other", "some-name"))):
        (model / "README.md").write_text(head, encoding="utf-8")
        found = written(named(run, model), tmp_path).data
        assert (found.license, found.license_name) == expected
    told = replace(named(run, model), hub=replace(run.hub, license="mit"))
    assert written(told, tmp_path).data.license == "mit"


def test_a_hub_base_s_card_is_asked_and_a_dead_network_ends_nothing(run, tmp_path, monkeypatch, caplog):
    (tmp_path / "card.md").write_text("---\nlicense: openrail++\n---\n", encoding="utf-8")
    monkeypatch.setattr(card, "hf_hub_download", lambda source, name, **hub: tmp_path / "card.md")
    found = written(named(run, "stabilityai/stable-diffusion-xl-base-1.0"), tmp_path).data
    assert (found.license, found.base_model) == ("openrail++", "stabilityai/stable-diffusion-xl-base-1.0")

    def dead(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(card, "hf_hub_download", dead)
    assert written(named(run, "stabilityai/stable-diffusion-xl-base-1.0"), tmp_path).data.license == "other"
    assert "`--license` names it" in caplog.text
