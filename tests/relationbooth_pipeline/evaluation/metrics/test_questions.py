"""Yes/no questions, and models that are refused because they are of another kind."""

import math

import pytest
import torch
from transformers import AutoProcessor

from relationbooth_pipeline.evaluation.cases import case_predicate
from relationbooth_pipeline.evaluation.metrics import MetricOptions, plan_metrics
from relationbooth_pipeline.evaluation.metrics.questions import Questions, questions, statement
from relationbooth_pipeline.vision.language import ASK, VisionLanguageModel

from ..tiny_bench import pair, single
from .slow_metrics import PICTURES, bench  # noqa: F401


def test_questions_are_answered_by_the_model_s_own_probabilities(models, bench):
    model = VisionLanguageModel(models["llava"])
    found = Questions(model).score(bench, bench.cases[0], PICTURES[:1])
    processor = AutoProcessor.from_pretrained(models["llava"])
    asked = questions(bench.cases[0])
    probabilities = {}
    for name, texts in asked.items():
        values = []
        for text in texts:
            inputs = processor(images=PICTURES[0], text=f"<image> {ASK.format(text)}", return_tensors="pt")
            with torch.no_grad():
                logits = model.model(**inputs).logits[0, -1].tolist()
            yes, no = (math.exp(logits[processor.tokenizer.convert_tokens_to_ids(w)]) for w in ("Yes", "No"))
            values.append(yes / (yes + no))
        probabilities[name] = min(values) if name == "P(objects)" else sum(values) / len(values)
    there = probabilities["P(objects)"] >= 0.5
    for name, value in probabilities.items():
        expected = value if name == "P(objects)" or there else 0.0
        assert found[name][0].figure == pytest.approx(expected, abs=1e-5)
    assert found["P(bench's)"][0].figure is None


def test_what_is_asked_follows_the_prompt():
    case = pair(prompt="A cat is playing chess with a bear in a park", predicate=None)
    assert statement(case) == "cat is playing chess with a bear"
    assert statement(case, exchanged=True) == "bear is playing chess with a cat"
    assert statement(single()) == "dog is sleeping"
    joined = pair(prompt="A cat and a bear hug on stage", predicate=None)
    assert statement(joined) == "cat and a bear hug"
    assert set(questions(single())) == {"P(objects)", "P(relation)"}
    assert "P(reversed)" not in questions(pair(prompt="a bear hugs a bear", phrases=("bear", "bear")))
    assert case_predicate(joined)[0] == "hug"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": "dino"}, "`clip` needs a model of kind clip, but .* is vit"),
        ({"dino": "clip"}, "`dino` needs a model of kind vit or dinov2, but .* is clip"),
        ({"detector": "dino"}, "`detector` needs a model of kind owlv2"),
        ({"vlm": "owl"}, "`vlm` needs an image-text-to-text model, but .* is owlv2"),
    ],
)
def test_a_model_of_another_kind_is_refused_before_any_loads(models, bench, tmp_path, change, message):
    named = {"clip": models["clip"], "dino": models["dino"], **{k: models[v] for k, v in change.items()}}
    with pytest.raises(ValueError, match=message):
        plan_metrics(MetricOptions(**named), bench, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "mine"}, "`protocol` must be one of relationbench, custom-diffusion, got 'mine'"),
        ({"predicate_rule": "noun"}, "`predicate_rule` must be one of"),
        ({"judge": "http://127.0.0.1/v1"}, "`judge` .* and `judge_model` .* belong together"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"clip": "/nowhere"}, "`clip`: the model `/nowhere` has no readable config"),
    ],
)
def test_options_that_cannot_be_are_refused(models, bench, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        plan_metrics(MetricOptions(**{"clip": models["clip"], "dino": models["dino"], **change}), bench, tmp_path)
