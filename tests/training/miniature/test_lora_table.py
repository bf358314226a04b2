"""The table of RelationLoRA variants and its learned relation embedding, at toy length on the shipped weights."""

import dataclasses
import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import RelationBoothPipeline, miniature
from relationbooth_pipeline.miniature.judges import MiniatureJudges
from relationbooth_pipeline.relation_images import open_image
from training.common.options import options
from training.lora.arguments import RelationLoraOptions, load_triplets, parse_arguments
from training.miniature.measure import cases as shared
from training.miniature.measure import gradient_share, lora_rows
from training.miniature.measure import lora_table as table
from training.miniature.measure.relation_embedding import (
    WORD,
    invert_relation,
    load_relation_embedding,
    train_relation_embedding,
    unload_relation_embedding,
    with_relation_word,
    without_relation_data,
)
from training.miniature.stages import relation_loras
from training.miniature.stages.relation_loras import training_arguments
from training.miniature.subjects.words import add_word, embeddings_of
from training.miniature.world.captions import make_caption
from training.miniature.world.splits import training_character

TOY = {"max_train_steps": 1, "train_batch_size": 1, "views_per_triplet": 1}
PROMPTS = ["a cat is hugging a dog in a meadow", "a bear"]


def load_pipe():
    pipe = RelationBoothPipeline.from_pretrained(miniature.path())
    pipe.set_progress_bar_config(disable=True)
    pipe.load_relation_adapter(miniature.path() / "relation_adapter")
    for model in pipe.components.values():
        if isinstance(model, torch.nn.Module):
            model.requires_grad_(False).eval()
    return pipe


def weights_of(pipe):
    models = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    return {f"{name}.{key}": t.clone() for name, model in models.items() for key, t in model.state_dict().items()}


@torch.no_grad()
def encoded(pipe, prompts=PROMPTS):
    return [t for t in pipe.encode_prompt(prompts, do_classifier_free_guidance=False) if t is not None]


@pytest.fixture(autouse=True)
def few_triplets(monkeypatch):
    monkeypatch.setattr(relation_loras, "TRIPLETS", 2)


@pytest.fixture
def pipe():
    return load_pipe()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = {**TOY, "max_train_steps": 2, "learning_rate": 5e-3}
    folder = tmp_path_factory.mktemp("embedding") / "run"
    arguments = training_arguments(miniature.path(), folder, "hugging", **settings)
    return options(RelationLoraOptions, parse_arguments(arguments))


@pytest.fixture(scope="module")
def triplets(run):
    return load_triplets(run)[:2]


def test_only_the_new_rows_train_and_image_prompts_are_blank(pipe, run, triplets):
    before, start = weights_of(pipe), embeddings_of(pipe, "is hugging")
    learned = invert_relation(pipe, triplets, run)
    assert {key: tuple(rows.shape) for key, rows in learned.items()} == {"clip_l": (2, 128), "clip_g": (2, 128)}
    for key, rows in learned.items():  # AdamW moves every weight by about the learning rate
        moved = (rows - start[key]).abs()
        assert 0 < moved.min() and moved.max() <= 2.1 * run.loop.learning_rate
    unload_relation_embedding(pipe)
    after = weights_of(pipe)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)

    exchanged = [dataclasses.replace(t, image_prompts=t.image_prompts[::-1]) for t in triplets]
    again = invert_relation(pipe, exchanged, run)
    assert all(torch.equal(again[key], learned[key]) for key in learned)


def test_a_triplet_without_relation_data(triplets):
    for triplet, blank in zip(triplets, map(without_relation_data, triplets)):
        assert blank.prompt == triplet.prompt.replace("is hugging", WORD) and blank.predicate in blank.prompt
        assert [image.size for image in blank.image_prompts] == [open_image(f).size for f in triplet.image_prompts]
        assert all(image.getcolors() == [(image.width * image.height, (128,) * 3)] for image in blank.image_prompts)
        assert torch.equal(blank.boxes, triplet.boxes) and blank.image == triplet.image


def test_several_predicates_are_refused(pipe, run, triplets):
    other = dataclasses.replace(triplets[0], predicate="a")
    with pytest.raises(ValueError, match="must share one predicate, got .'a', 'is hugging'."):
        invert_relation(pipe, [triplets[1], other], run)


@pytest.mark.parametrize("one_tokenizer", [False, True])
def test_the_word_stands_for_the_predicate_until_it_is_unloaded(pipe, one_tokenizer):
    if one_tokenizer:
        pipe.tokenizer_2 = pipe.tokenizer
    before = encoded(pipe)
    add_word(pipe, WORD, embeddings_of(pipe, "is hugging"))
    words = [prompt.replace("is hugging", WORD) for prompt in PROMPTS]
    for a, b in zip(before, encoded(pipe, words)):  # R* at its start is the predicate, and pooling finds the end token
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="already in tokenizer vocabulary"):
        add_word(pipe, WORD, embeddings_of(pipe, "is hugging"))
    unload_relation_embedding(pipe)
    assert all(torch.equal(a, b) for a, b in zip(before, encoded(pipe)))
    for encoder, tokenizer in ((pipe.text_encoder, pipe.tokenizer), (pipe.text_encoder_2, pipe.tokenizer_2)):
        assert encoder.config.vocab_size == len(tokenizer) == 690
        assert WORD not in tokenizer.get_vocab() and f"{WORD}_1" not in tokenizer.get_vocab()


def test_the_file_is_one_of_diffusers(pipe, tmp_path):
    file = train_relation_embedding(miniature.path(), tmp_path / "run", "hugging", **TOY)
    state, written = load_file(file), file.stat().st_mtime_ns
    prompts = [f"a cat {WORD} a dog"]
    load_relation_embedding(pipe, file)
    ours = encoded(pipe, prompts)
    unload_relation_embedding(pipe)
    pipe.load_textual_inversion(state["clip_l"], token=WORD, text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer)
    pipe.load_textual_inversion(
        state["clip_g"], token=WORD, text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, encoded(pipe, prompts)))
    assert not torch.equal(ours[0], encoded(pipe, ["a cat is hugging a dog"])[0])
    again = train_relation_embedding(miniature.path(), tmp_path / "run", "hugging", **TOY)
    assert again == file and file.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="must hold `clip_l` and `clip_g`, got .'clip_l'."):
        add_word(pipe, WORD, {"clip_l": state["clip_l"]})


def test_a_caption_with_the_word_knows_its_spans():
    rng = random.Random(0)
    caption = make_caption([training_character(rng), training_character(rng)], "dancing", "night")
    said = with_relation_word(caption)
    assert said.text == caption.text.replace("is dancing with", WORD)
    assert tuple(said.text[a:b] for a, b in said.phrase_spans) == caption.phrases
    assert said.text[slice(*said.predicate_span)] == said.predicate == WORD


def test_every_row_has_its_folder_and_every_table_its_reference():
    assert len({table.row_folder("root", row, "hugging", 0) for row in table.ROWS}) == len(table.ROWS) == 30
    assert all(reference in rows for rows, reference in table.TABLES.values())
    assert all(table.ROWS[name] == row for rows, _ in table.TABLES.values() for name, row in rows.items())
    assert all(row.drawn_with in table.ROWS for row in table.ROWS.values() if row.drawn_with)


def test_the_table_and_its_second_call(tmp_path, monkeypatch):
    monkeypatch.setitem(shared.GUIDANCE, "num_inference_steps", 2)
    judges, rows = MiniatureJudges.load(), (lora_rows.DEFAULT, "released code", table.EMBEDDING, table.ADAPTER)
    trained = []
    train_one = table.train_one

    def noting(model, folder, *given, **options):
        trained.append((folder, options))
        return train_one(model, folder, *given, **options)

    monkeypatch.setattr(table, "train_one", noting)
    call = (miniature.path(), judges, tmp_path / "table", ["waving"], [3], 2)
    found = table.relation_lora_table(*call, rows=rows, **TOY)
    assert list(found["rows"]) == list(rows)
    assert set(found["differences"]) == {f"{row} − {lora_rows.DEFAULT}" for row in rows[1:]}
    assert all(list(of_pose) == ["waving"] for kind in found.values() for of_pose in kind.values())
    assert [folder.name for folder, _ in trained] == ["waving_3"] * 2
    assert trained[-1][1].items() >= {"kml_weight": 0.1, "local_image_encoder": "none", **TOY}.items()

    def refuse(*given, **options):
        raise AssertionError("trained again")

    for name in ("train_one", "train_relation_embedding", "draw_pictures"):
        monkeypatch.setattr(table, name, refuse)
    assert table.relation_lora_table(*call, rows=rows, **TOY) == found
    assert not table.relation_lora_table(*call, rows=[table.ADAPTER], **TOY)["differences"]


def test_a_share_of_the_gradient_is_that_share(tmp_path):
    """λ·∇L_keypoint is so long, once the norms are known; a gate leaves less of it."""
    share, found = 0.3, {}
    for name, chosen in {
        "matching": {},
        "gated": {"kml_max_timestep": 333},
        "at": {"keypoint_loss": "denoising"},
    }.items():
        arguments = training_arguments(miniature.path(), tmp_path / name, "hugging", **TOY, **chosen)
        weight = gradient_share.keypoint_weight(arguments, share, tmp_path / f"{name}.json", batches=2)
        norms = json.loads((tmp_path / f"{name}.json").read_text())
        assert weight * norms["keypoint"] == pytest.approx(share * norms["denoising"])
        assert gradient_share.keypoint_weight(arguments, 2 * share, tmp_path / f"{name}.json") == pytest.approx(
            2 * weight
        )
        found[name] = norms
    assert found["matching"]["denoising"] == found["gated"]["denoising"] == found["at"]["denoising"] > 0
    assert found["gated"]["keypoint"] < found["matching"]["keypoint"]
    assert len({norms["keypoint"] for norms in found.values()}) == 3


def test_a_loss_that_sees_no_keypoint_has_no_share(tmp_path):
    (tmp_path / "norms.json").write_text('{"denoising": 1.0, "keypoint": 0.0}')
    with pytest.raises(ValueError, match="`share` 0.1 cannot be reached: the keypoint loss is 0 in all 16 batches"):
        gradient_share.keypoint_weight([], 0.1, tmp_path / "norms.json")


def test_rows_train_and_draw_as_they_say(tmp_path, monkeypatch):
    """A share becomes λ, a number of triplets so many, and a weight draws with another row's file."""
    monkeypatch.setattr(gradient_share, "BATCHES", 1)
    monkeypatch.setattr(table, "keypoint_weight", lambda arguments, share, path: 10 * share)
    calls = []
    monkeypatch.setattr(
        table, "train_one", lambda model, folder, pose, seed, **options: calls.append((folder, options)) or folder / "x"
    )
    for row in ("matching, 10% of the gradient, t ≤ 333", "12 triplets", "1000 steps", "weight 0.7"):
        table.train_row(row, miniature.path(), tmp_path, "dancing", 0, train_batch_size=7)
    (share, many, long, weight) = (options for _, options in calls)
    assert (share["kml_weight"], share["kml_max_timestep"], share["keypoint_loss"]) == (1.0, 333, "matching")
    assert (many["triplets"], many["train_batch_size"], long["max_train_steps"]) == (12, 7, 1000)
    assert calls[3][0] == table.row_folder(tmp_path, lora_rows.DEFAULT, "dancing", 0) and "triplets" not in weight
    argument = training_arguments("model", tmp_path / "run", "dancing", triplets=3)
    folder = Path(argument[argument.index("--train_data_dir") + 1])
    assert len((folder / "metadata.jsonl").read_text().splitlines()) == 3

    class Pipe:
        seen = []

        def load_lora_weights(self, folder, adapter_name):
            self.seen.append((folder, adapter_name))

        def set_adapters(self, name, weight):
            self.seen.append((name, weight))

        def unload_lora_weights(self):
            self.seen.append("unloaded")

    monkeypatch.setattr(table, "draw_pictures", lambda *given: "pictures")
    assert table.draw_row("weight 0.7", Pipe(), [], tmp_path / "x.safetensors") == "pictures"
    assert Pipe.seen == [(str(tmp_path), "relation"), ("relation", 0.7), "unloaded"]


def test_unknown_rows_and_no_seeds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`rows` must be of 'λ = 1e-3.*got ..no such.."):
        table.relation_lora_table(miniature.path(), None, tmp_path, [], [0], 1, rows=["no such"])
    with pytest.raises(ValueError, match="`seeds` must hold at least one training seed, got none"):
        table.relation_lora_table(miniature.path(), None, tmp_path, [], [], 1)


def test_a_case_averages_over_seeds():
    verdicts = [[{"relation": 0.0}, {"relation": 1.0}], [{"relation": 1.0}, {"relation": 1.0}]]
    assert shared.mean_over_seeds(verdicts) == [{"relation": 0.5}, {"relation": 1.0}]
