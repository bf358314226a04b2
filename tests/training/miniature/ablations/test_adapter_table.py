"""The tables of local tokens: towers, settings, and a toy run of the whole comparison on the shipped weights."""

import contextlib
from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder, RelationAdapter, miniature
from tests.training.miniature.test_evaluation import Oracle
from training.miniature import tables
from training.miniature.ablations import adapter_table
from training.miniature.ablations.adapter_table import (
    DEFAULT,
    EXCHANGED,
    adapter_variants,
    cost_text,
    grouped,
    with_local_tokens_exchanged,
)
from training.miniature.measure import cases
from training.miniature.stages import adapter
from training.miniature.stages.image_prompts import LocalTokens, encoded_prompts
from training.miniature.stages.latents import as_tuple
from training.miniature.stages.towers import build_small_tower, distil, train_small_tower
from training.miniature.stages.training_loop import TrainingPlan
from training.miniature.world.splits import held_out_characters

PLAN = TrainingPlan(1, warmup_steps=1, sample_steps=10_000)
IMAGE_ENCODER = miniature.path() / "relation_adapter" / "image_encoder"


def test_names_tell_settings_apart():
    variants = adapter_variants({"distilled": "a/distilled", "small": "a/small"})
    assert len({local.name for local in variants.values()}) == len(variants)
    assert LocalTokens(injection="add").tokens_name == LocalTokens().tokens_name != LocalTokens(grid=2).tokens_name
    assert variants[DEFAULT].encoder == "a/distilled" and variants["no local tokens"].load("nowhere") is None


def test_image_prompts_are_encoded_once_and_show_each_character(tmp_path):
    first, second = held_out_characters()[:2]
    scenes = [([as_tuple(first), as_tuple(second)], "kissing", "night"), ([as_tuple(second)], "waving", "studio")]
    seen, again, files = [], [], [tmp_path / "tokens.pt", tmp_path / "others.pt"]

    def encode(images, seen, height, sign=1):
        seen.extend(images)
        return torch.stack([torch.full((height, 4), sign * float(np.asarray(image).mean())) for image in images])

    both = dict(zip(files, (partial(encode, seen=seen, height=3), partial(encode, seen=again, height=1))))
    kept, other = encoded_prompts(both, scenes, 0)
    assert kept.shape == (2, 2, 3, 4) and not kept[1, 1].any() and kept[1, 0].all() and other.shape == (2, 2, 1, 4)
    assert len(seen) == 3 and all(one is same for one, same in zip(seen, again)), "drawn once for both"
    files[1].unlink()
    first, same = encoded_prompts(both, scenes, 0)
    assert torch.equal(first, kept) and torch.equal(same, other)
    assert len(seen) == 4 and len(again) == 6, "of what is kept, one is encoded again, to compare"
    with pytest.raises(ValueError, match="tokens.pt` was encoded by another encoder than is here. Remove it"):
        encoded_prompts({files[0]: partial(encode, seen=[], height=3, sign=-1)}, scenes, 0)
    with pytest.raises(ValueError, match="others.pt` was encoded by another encoder"):
        encoded_prompts({files[1]: both[files[0]]}, scenes, 0)
    with pytest.raises(ValueError, match="tokens.pt` must hold 1 scenes' tokens, got 2. Remove it"):
        encoded_prompts(both, scenes[:1], 0)


def test_a_small_tower_trains_and_is_distilled(tmp_path):
    folder = train_small_tower(tmp_path / "small", PLAN, batch=2, checked=2)
    tower = CLIPVisionModelWithProjection.from_pretrained(folder)
    assert (
        tower.config.hidden_size * 2 == CLIPVisionModelWithProjection.from_pretrained(IMAGE_ENCODER).config.hidden_size
    )
    options = {"max_train_steps": 1, "train_batch_size": 1, "lr_warmup_steps": 0, "mixed_precision": "no"}
    made = distil(folder, tmp_path / "distilled", tmp_path / "scenes", scenes=2, **options)
    distilled = LocalImageEncoder.from_pretrained(made)
    first, before = (model.vision_model.encoder.layers[0].mlp.fc1.weight for model in (distilled, tower))
    assert not torch.equal(first, before)
    assert distil(folder, made, "nowhere") == made, "a finished tower is not made again"
    with pytest.raises(ValueError, match="distilled` holds what was made for another tower"):
        distil(IMAGE_ENCODER, made, "nowhere")


def test_the_table_compares_adapters_that_differ_in_their_local_tokens(tmp_path, monkeypatch):
    monkeypatch.setitem(cases.GUIDANCE, "num_inference_steps", 1)
    monkeypatch.setattr(adapter, "sample_sheet", lambda *arguments: None)
    build_small_tower().save_pretrained(tmp_path / "small")
    variants = {
        "no local tokens": LocalTokens(grid=0),
        DEFAULT: LocalTokens(injection="add"),
        "small": LocalTokens(str(tmp_path / "small"), grid=2),
    }
    shared, drawn, draw = cases.draw_cases("kissing", 2, 0), [], cases.draw_pictures

    def noted(*given, **options):
        drawn.append((options["change"], draw(*given, **options)))
        return drawn[-1][1]

    monkeypatch.setattr(adapter_table, "draw_pictures", noted)

    def table():
        return adapter_table.adapter_table(
            miniature.path(), Oracle(shared), tmp_path / "out", variants, ["kissing"], 2, contextlib.nullcontext,
            plan=PLAN, batch=1, scenes=2,
        )  # fmt: skip

    found = table()
    assert [change for change, _ in drawn] == [None, None, with_local_tokens_exchanged, None]
    assert all((one[1] != other[1]).any() for one, other in zip(drawn, drawn[1:])), "every row is drawn as it says"
    assert set(found["rows"]) == {*variants, EXCHANGED, cases.RENDERS}
    assert set(found["rows"]["small"]) == {"kissing", "apart", "all"} == set(found["rows"][EXCHANGED])
    assert found["differences"][f"small − {DEFAULT}"]["kissing"]["species"]["mean"] == 0
    assert [found["cost"][row]["local tokens"] for row in variants] == [0, 16, 4]
    saved = RelationAdapter.load_config(tmp_path / "out" / variants["small"].name / "model")
    assert saved["local_grid"] == 2 and saved["resampler_config"]["local_embedding_dim"] == 64
    monkeypatch.setattr(adapter_table, "train_adapter", None)
    monkeypatch.setattr(adapter_table, "draw_pictures", None)
    assert table()["rows"] == found["rows"], "what is finished is read, not made again"
    assert cost_text(found["cost"]).count("\n|") == 1 + len(variants)


def test_verdicts_are_grouped_by_how_far_the_boxes_overlap_and_by_what_renders_show():
    apart = {"boxes": np.array([[0.0, 0, 0.5, 1], [0.5, 0, 1, 1]])}
    over = {"boxes": np.array([[0.0, 0, 0.7, 1], [0.3, 0, 1, 1]])}  # 0.4 of 1.0
    renders = {"b": [{"fine": 1.0}], "a": [{"fine": 0.0}, {"fine": 1.0}], "c": []}
    found = grouped({"a": [1, 2], "b": [3]}, {"a": [apart, over], "b": [over]}, renders)
    expected = {"a": [1, 2], "b": [3], "apart": [1], "overlapping": [2, 3], "in sight": [2, 3], "all": [1, 2, 3]}
    assert found == expected
    assert set(grouped({"a": [1]}, {"a": [apart]}, {"a": [{}]})) == {"a", "apart", "all"}, "judges without fine ones"


def test_the_command_writes_its_tables(tmp_path, monkeypatch, capsys):
    shared = cases.draw_cases("kissing", 2, 0)
    verdicts = cases.judge(Oracle(shared), shared, np.zeros((2, 8, 8, 3), np.uint8))
    figures = {"kissing": cases.summarise(verdicts)}

    class Ready:
        accuracy, checkpoint = {"pose": 1.0}, "judges"

    monkeypatch.setattr(tables.MiniatureJudges, "load", lambda folder: Ready)
    monkeypatch.setitem(tables.TABLES, "relation_loras", lambda *arguments: {"rows": {"a": figures}, "differences": {}})
    tables.main(["--output_dir", str(tmp_path), "--tables", "relation_loras"])
    assert "| a | kissing | 1.000 [1.000, 1.000]" in capsys.readouterr().out
    assert (tmp_path / "relation_loras.json").is_file()
