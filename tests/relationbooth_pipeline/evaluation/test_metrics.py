"""Every metric against plain loops, on tiny real CLIP, DINO, OWLv2 and LLaVA."""

import itertools
import math

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, CLIPModel

from relationbooth_pipeline.evaluation.cases import case_predicate
from relationbooth_pipeline.evaluation.metrics import MetricOptions, plan_metrics
from relationbooth_pipeline.evaluation.metrics.detection import (
    Detector,
    Found,
    GivenBoxes,
    crop,
    overlap,
    without_copies,
)
from relationbooth_pipeline.evaluation.metrics.features import FeatureStore
from relationbooth_pipeline.evaluation.metrics.identity import CropIdentity, assigned, box_overlap, margin
from relationbooth_pipeline.evaluation.metrics.questions import (
    ASK,
    Questions,
    VisionLanguageModel,
    questions,
    statement,
)
from relationbooth_pipeline.evaluation.metrics.similarity import ImageSimilarity, TextAlignment
from relationbooth_pipeline.evaluation.metrics.towers import ClipTower, DinoTower
from relationbooth_pipeline.relation_images import open_image
from tests.tiny import photo, tiny_tokenizer

from .tiny_bench import BOXES, pair, single, write_bench

PICTURES = [photo(50, (64, 48)), photo(51, (30, 40))]


def cosine(first, second):
    dot = sum(a * b for a, b in zip(first, second))
    return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def clip_vector(folder, picture):
    """CLIP's own processor written out: short side to 28, bicubic, the middle 28 × 28."""
    model = CLIPModel.from_pretrained(folder).eval()
    factor = 28 / min(picture.size)
    width, height = (int(side * factor) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 28) // 2, (height - 28) // 2
    part = resized.crop((left, top, left + 28, top + 28))
    values = torch.tensor(list(part.getdata()), dtype=torch.float32).view(28, 28, 3) / 255
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((values - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=pixels).pooler_output
        return model.visual_projection(pooled)[0].tolist()


def text_vector(folder, text):
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), tiny_tokenizer()
    ids = torch.tensor([tokenizer(text).input_ids])  # no padding: what stands after the end token is not read
    with torch.no_grad():
        pooled = model.text_model(input_ids=ids).pooler_output
        return model.text_projection(pooled)[0].tolist()


def dino_vector(folder, picture):
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    factor = 32 / min(picture.size)  # 28 · 256 / 224
    width, height = (max(32, round(side * factor)) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 28) // 2, (height - 28) // 2
    part = resized.crop((left, top, left + 28, top + 28))
    values = torch.tensor(list(part.getdata()), dtype=torch.float32).view(28, 28, 3) / 255
    pixels = ((values - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])).permute(2, 0, 1)
    with torch.no_grad():
        return model(pixel_values=pixels[None]).last_hidden_state[0, 0].tolist()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def clip(models):
    return FeatureStore(ClipTower(models["clip"]), None)


@pytest.fixture(scope="module")
def dino(models):
    return FeatureStore(DinoTower(models["dino"]), None)


def close(values, expected):
    assert [v.figure for v in values] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("protocol", "scaled"), [("relationbench", lambda c: 100 * c), ("custom-diffusion", lambda c: 2.5 * max(c, 0))]
)
def test_clip_t_and_clip_r(models, bench, clip, protocol, scaled):
    case = bench.cases[0]
    found = TextAlignment(clip, protocol).score(bench, case, PICTURES)
    seen = [clip_vector(models["clip"], picture) for picture in PICTURES]
    for name, text in (("CLIP-T", case.prompt), ("CLIP-R", "hugging")):
        close(found[name], [scaled(cosine(vector, text_vector(models["clip"], text))) for vector in seen])


def test_a_case_without_predicate_has_no_clip_r(bench, clip):
    case = pair(prompt="a cat and a bear", predicate=None)
    values = TextAlignment(clip).score(bench, case, PICTURES)["CLIP-R"]
    assert [v.figure for v in values] == [None, None] and "no predicate" in values[0].note


@pytest.mark.parametrize(("protocol", "scale"), [("relationbench", 100), ("custom-diffusion", 1)])
def test_clip_i_dino_and_m_dino_over_all_photos(models, bench, clip, dino, protocol, scale):
    case = bench.cases[0]
    for store, vector, name, product in ((clip, clip_vector, "CLIP-I", False), (dino, dino_vector, "DINO", True)):
        found = ImageSimilarity(store, name, protocol, product).score(bench, case, PICTURES)
        folder, means, products = models["clip" if name == "CLIP-I" else "dino"], [], []
        for picture in PICTURES:
            by_object = []
            for i, names in enumerate(case.references):
                photos = [open_image(bench.photo(case, i, k)) for k in range(len(names))]
                cosines = [cosine(vector(folder, picture), vector(folder, other)) for other in photos]
                by_object.append(sum(cosines) / len(cosines))
            means.append(scale * sum(by_object) / 2)
            products.append(scale * max(by_object[0], 0) * max(by_object[1], 0))
        close(found[name], means)
        if product:
            close(found["M-DINO"], products)


def test_crops_are_compared_with_their_own_object(models, bench, clip, dino):
    case, metric = bench.cases[0], CropIdentity({"CLIP-I": clip, "DINO": dino}, GivenBoxes())
    found = metric.score(bench, case, PICTURES)
    for at, picture in enumerate(PICTURES):
        matrix = []
        for box in case.boxes:
            vector = dino_vector(models["dino"], crop(picture, box))
            row = []
            for i, names in enumerate(case.references):
                photos = [dino_vector(models["dino"], open_image(bench.photo(case, i, k))) for k in range(len(names))]
                row.append(sum(cosine(vector, other) for other in photos) / len(photos))
            matrix.append(row)
        own, other = matrix[0][0] + matrix[1][1], matrix[0][1] + matrix[1][0]
        assert found["crop DINO"][at].figure == pytest.approx(50 * own, abs=2e-3)
        assert found["margin"][at].figure == pytest.approx(50 * (own - other), abs=4e-3)
        assert found["assigned"][at].figure == float(own > other)
        assert found["missing"][at].figure == 0
    alone = metric.score(bench, bench.cases[2], PICTURES[:1])
    assert alone["assigned"][0].figure is None and "one object" in alone["assigned"][0].note


@pytest.mark.parametrize("count", [2, 3, 4])
def test_assignment_and_margin(count):
    matrix = torch.rand(count, count, generator=torch.Generator().manual_seed(count))
    own = sum(matrix[i, i] for i in range(count))
    better = [sum(matrix[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(count))]
    assert assigned(matrix) == float(sum(s >= own for s in better) == 1)
    assert assigned(torch.eye(count)) == 1 and assigned(torch.ones(count, count)) == 0
    assert margin(torch.eye(count)) == 1 and margin(1 - torch.eye(count)) == -1


class Places:
    """A finder with answers of its own."""

    checkpoint, by_name = "stub", True

    def __init__(self, places):
        self.places = places

    def find(self, case, picture):
        return self.places


def test_an_object_that_is_not_found_counts_nothing_and_is_told(bench, clip, dino):
    metric = CropIdentity({"CLIP-I": clip, "DINO": dino}, Places([Found(BOXES[0], 0.9), None]))
    found = {name: values[0] for name, values in metric.score(bench, bench.cases[0], PICTURES[:1]).items()}
    whole = CropIdentity({"DINO": dino}, Places([Found(BOXES[0], 0.9)])).score(bench, bench.cases[2], PICTURES[:1])
    assert found["crop DINO"].figure == pytest.approx(whole["crop DINO"][0].figure / 2, abs=1e-4)
    assert found["missing"].figure == 0.5 and found["assigned"].figure == 0 and found["margin"].figure is None
    assert found["box mIoU"].figure == pytest.approx(0.5)
    nothing = CropIdentity({"DINO": dino}, Places([None, None])).score(bench, bench.cases[0], PICTURES[:1])
    assert nothing["crop DINO"][0].figure == 0 and nothing["missing"][0].figure == 1


def test_boxes_overlap_as_counted_on_a_grid():
    first, second, cells = (0.1, 0.2, 0.6, 0.9), (0.3, 0.1, 0.8, 0.7), 200
    inside = [
        [b[0] <= (x + 0.5) / cells <= b[2] and b[1] <= (y + 0.5) / cells <= b[3] for b in (first, second)]
        for x in range(cells)
        for y in range(cells)
    ]
    expected = sum(a and b for a, b in inside) / sum(a or b for a, b in inside)
    assert overlap(first, second) == pytest.approx(expected, abs=2e-3)
    assert overlap((0, 0, 0.4, 1), (0.5, 0, 1, 1)) == 0
    assert box_overlap([Found(first, 1), None], (first, second)).figure == 0.5
    assert without_copies([Found(first, 0.9), Found(first, 0.8), Found(second, 0.5)]) == [
        Found(first, 0.9),
        Found(second, 0.5),
    ]


def test_a_detector_finds_each_phrase_and_the_boxes_say_who_is_who(models, monkeypatch):
    detector = Detector(models["owl"], threshold=0.0)
    found = detector.find(pair(), PICTURES[0])
    assert detector.by_name and len(found) == 2
    best = detector.boxes(PICTURES[0], "cat")
    assert found[0] == best[0] and best == sorted(best, key=lambda f: -f.score)
    assert all(0 <= f.box[0] < f.box[2] <= 1 and 0 <= f.box[1] < f.box[3] <= 1 for f in best)
    left, right = Found((0.0, 0.0, 0.4, 1.0), 0.5), Found((0.6, 0.0, 1.0, 1.0), 0.9)
    monkeypatch.setattr(detector, "boxes", lambda picture, phrase: [right, left])
    twins = pair(prompt="a cat kisses a cat", phrases=("cat", "cat"), boxes=(BOXES[1], BOXES[0]))
    assert detector.find(twins, PICTURES[0]) == [right, left]
    assert detector.find(pair(prompt="a cat kisses a cat", phrases=("cat", "cat"), boxes=None), PICTURES[0]) == [
        left,
        right,
    ]


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
