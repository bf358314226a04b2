"""Judges and their table: laws of crops and intervals, and a toy run of the whole chain."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from safetensors import safe_open
from safetensors.torch import save_file

from relationbooth_pipeline import RelationBoothPipeline, miniature
from relationbooth_pipeline.miniature.judges import MiniatureJudges, Seen
from relationbooth_pipeline.relation_files import LORA_WEIGHT_NAME
from relationbooth_pipeline.relation_regions import read_relation_metadata
from training.miniature import evaluate as program
from training.miniature.judges.scenes import west_to_east
from training.miniature.measure import cases as shared
from training.miniature.stages import relation_loras
from training.miniature.stages.export import MAX_BYTES
from training.miniature.stages.relation_loras import relation_template, train_one
from training.miniature.world.identities import named_character
from training.miniature.world.splits import is_held_out, poses_of_kinds


class Oracle:
    """Judges that answer from the cases; `wrong` says how they lie."""

    accuracy = {"pose": 1.0}

    def __init__(self, cases, wrong=None):
        self.cases, self.wrong = cases, wrong

    def characters(self, pictures, boxes):
        people = [c for case in self.cases for c in (case["characters"][::-1] if self.wrong else case["characters"])]
        names = {name: [getattr(c, name) for c in people] for name in shared.COARSE}
        points = np.concatenate([case["keypoints"] for case in self.cases])[..., :2]
        return names, torch.tensor(points, dtype=torch.float32)

    def look(self, pictures):
        boxes = torch.stack([west_to_east(case["boxes"]) for case in self.cases])
        poses = [self.wrong or case["pose"] for case in self.cases]
        return Seen(poses, torch.ones(len(poses), 1), torch.full((len(poses),), 0.9 if self.wrong else 0.1), boxes)


def test_right_pictures_are_judged_right_and_exchanged_ones_swapped():
    cases = shared.draw_cases("hugging", 4, seed=0)
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    for result in shared.judge(Oracle(cases), cases, pictures):
        assert result["relation"] == result["species"] == result["species and color"] == 1 and not result["swapped"]
        assert not result["broken"]
        assert result["keypoint distance"] < 1e-6
    pairs = [case["characters"] for case in cases]
    differ = [a.species != b.species or a.color != b.color for a, b in pairs]
    exchanged = shared.judge(Oracle(cases, wrong="kissing"), cases, pictures)
    assert [bool(result["swapped"]) for result in exchanged] == differ
    assert not any(result["relation"] for result in exchanged)
    assert all(result["broken"] for result in exchanged)


def test_without_boxes_either_side_is_right_and_mixed_attributes_are_swapped():
    """An oracle that names characters by where they stand, whatever order it is asked in."""
    cases = shared.draw_cases("kissing", 3, seed=1)
    oracle = Oracle(cases)

    def characters(pictures, boxes):
        at = {tuple(np.round(b, 4)): c for case in cases for b, c in zip(case["boxes"], case["characters"])}
        found = [at[tuple(np.round(box, 4))] for box in boxes]
        names = {name: [getattr(c, name) for c in found] for name in shared.COARSE}
        if oracle.wrong:  # colours and all else exchanged, species not
            for name in ("color", "marking", "accessory"):
                names[name] = [value for i in range(0, len(found), 2) for value in names[name][i : i + 2][::-1]]
        return names, torch.zeros(len(boxes), 17, 2)

    oracle.characters = characters
    pictures = np.zeros((3, 8, 8, 3), np.uint8)
    assert all(r["species and color"] == 1 and not r["swapped"] for r in shared.judge(oracle, cases, pictures, False))
    oracle.wrong = "kissing"
    for case, result in zip(cases, shared.judge(oracle, cases, pictures, False)):
        first, second = case["characters"]
        if first.species != second.species and first.color != second.color:
            assert result["swapped"] and not result["species and color"]


def test_fine_attributes_have_figures_where_the_judges_know_them():
    cases = shared.draw_cases("hugging", 3, seed=0)
    for case in cases:
        first, second = case["characters"]
        case["characters"] = [
            replace(first, glyph="star", pupils="round"),
            replace(second, glyph="ring", pupils="round"),
        ]
    pictures, coarse = np.zeros((3, 8, 8, 3), np.uint8), Oracle(cases)
    assert not {"fine", "glyph"} & set(shared.judge(coarse, cases, pictures)[0])

    class Sharp(Oracle):
        def characters(self, pictures, boxes):
            names, points = super().characters(pictures, boxes)
            people = [c for case in self.cases for c in case["characters"]]
            seen = [c for case in self.cases for c in case["characters"][:: -1 if self.exchanged else 1]]
            return {**names, "glyph": [c.glyph for c in seen], "pupils": [c.pupils for c in people]}, points

    for exchanged in (False, True):
        judges = Sharp(cases)
        judges.exchanged = exchanged
        for result in shared.judge(judges, cases, pictures):
            assert result["coarse"] == result["pupils"] == 1 and not result["swapped"]
            assert result["fine"] == result["glyph"] == (not exchanged) and result["fine swapped"] == exchanged


def test_intervals():
    assert shared.interval([0.5] * 9) == {"mean": 0.5, "low": 0.5, "high": 0.5}
    spread = shared.interval([0.0, 1.0] * 50)
    assert spread["low"] < 0.45 < 0.55 < spread["high"]
    rows = [{"relation": float(i % 2)} for i in range(10)]
    assert shared.summarise(rows, rows)["relation"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_cases_depend_on_the_seed_alone():
    first, again = (shared.draw_cases("kissing", 2, seed=3) for _ in range(2))
    assert [case["seed"] for case in first] == [case["seed"] for case in again]
    assert [case["seed"] for case in first] != [case["seed"] for case in shared.draw_cases("kissing", 2, seed=4)]
    assert all(is_held_out(character) for case in first for character in case["characters"])
    assert np.array_equal(shared.renders(first), shared.renders(again)) and shared.renders(first).shape[0] == 2


def test_a_relation_lora_and_the_table(tmp_path, monkeypatch):
    """The users' script trains on the shipped weights, and the table has every row, pose and difference."""
    monkeypatch.setitem(shared.GUIDANCE, "num_inference_steps", 2)
    options = {"max_train_steps": 1, "train_batch_size": 1, "views_per_triplet": 1}
    file = train_one(miniature.path(), tmp_path / "lora", "hugging", **options)
    metadata = read_relation_metadata(file)
    assert (metadata.relation, metadata.template) == ("hugging", "a {0} is hugging a {1}")
    left, right = metadata.layout_prior
    assert left[0] < right[0] or right[0] < left[0]
    pipe = RelationBoothPipeline.from_pretrained(miniature.path())
    pipe.set_progress_bar_config(disable=True)
    pipe.load_relation_adapter(miniature.path() / "relation_adapter")
    poses, loras = ["hugging", "waving"], {"hugging": [file.parent]}
    table = program.evaluate(pipe, MiniatureJudges.load(), poses, 2, relation_loras=loras, sheet=tmp_path / "sheets")
    assert set(table["rows"]) == set(program.ROWS)
    assert set(table["rows"]["adapter"]) == {"all", "hugging", "waving"}
    assert set(table["rows"]["adapter and RelationLoRA"]) == {"all", "hugging"}
    assert set(table["differences"]["adapter and RelationLoRA − adapter"]) == {"hugging"}
    assert table["rows"][shared.RENDERS]["waving"]["color"]["mean"] == 1, "the judges read what the world draws"
    assert (tmp_path / "sheets" / "hugging.png").stat().st_size > 1000
    rows = ("adapter", "adapter and RelationLoRA")
    for weight in (0.0, 50.0):
        weaker = program.evaluate(
            pipe, MiniatureJudges.load(), ["hugging"], 2, relation_loras=loras, rows=rows, relation_lora_weight=weight
        )
        moved = weaker["differences"]["adapter and RelationLoRA − adapter"]["hugging"]["keypoint distance"]
        assert any(moved.values()) == bool(weight)
    text = program.table_text(table)
    assert text.count("\n| ") == sum(map(len, [*table["rows"].values(), *table["differences"].values()]))


def test_every_seed_trains_and_the_first_ships(tmp_path, monkeypatch):
    asked, header = {}, {"relationbooth": json.dumps({"relation": "dancing", "scale": 1.0})}

    def train_one(model, output_dir, pose, seed, **settings):
        asked[pose] = settings
        output_dir.mkdir(parents=True)
        save_file({"w": torch.full((2,), float(seed))}, output_dir / LORA_WEIGHT_NAME, metadata=header | {"pose": pose})
        return output_dir / LORA_WEIGHT_NAME

    monkeypatch.setattr(relation_loras, "train_one", train_one)
    relation_loras.train_relation_loras(tmp_path / "runs", tmp_path / "model", ["hugging", "dancing"], seeds=2)
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"hugging_0", "hugging_1", "dancing_0", "dancing_1"}
    assert asked == {"hugging": {}, "dancing": relation_loras.OF_NEW}
    with safe_open(tmp_path / "model" / "relation_loras" / "dancing" / LORA_WEIGHT_NAME, "pt") as shipped:
        assert shipped.metadata()["pose"] == "dancing"
        assert json.loads(shipped.metadata()["relationbooth"]) == {"relation": "dancing", "scale": 0.85}
        assert shipped.get_tensor("w").dtype == torch.float16 and not shipped.get_tensor("w").any()


def test_what_ships_is_small():
    assert sum(file.stat().st_size for file in miniature.path().rglob("*") if file.is_file()) <= MAX_BYTES


def test_the_model_s_own_relation_loras_are_found(tmp_path):
    own = program.own_relation_loras(miniature.path())
    assert set(own) <= set(poses_of_kinds("bc")) and len(own) >= 6 and program.own_relation_loras(tmp_path) == {}
    assert read_relation_metadata(own["dancing"][0] / LORA_WEIGHT_NAME).relation == "dancing"


def test_templates_fit_captions():
    assert relation_template("carrying") == "a {0} is carrying a {1}"
    assert relation_template("jumping") == "a {0} is jumping"
    assert named_character("cat", "red").key == "cat/red/plain/none"
