"""A learned relation embedding: what trains, what stays, and the file, at toy length on the shipped weights."""

import dataclasses
import random

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import RelationBoothPipeline, miniature
from relationbooth_pipeline.relation_images import open_image
from training.common.options import options
from training.lora.arguments import RelationLoraOptions, load_triplets, parse_arguments
from training.miniature.stages import relation_loras
from training.miniature.stages.relation_loras import training_arguments
from training.miniature.subjects.relation_embedding import (
    WORD,
    invert_relation,
    load_relation_embedding,
    train_relation_embedding,
    unload_relation_embedding,
    with_relation_word,
    without_relation_data,
)
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
    before, size = encoded(pipe), len(pipe.tokenizer)
    add_word(pipe, WORD, embeddings_of(pipe, "is hugging"))
    words = [prompt.replace("is hugging", WORD) for prompt in PROMPTS]
    for a, b in zip(before, encoded(pipe, words)):  # R* at its start is the predicate, and pooling finds the end token
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="already in tokenizer vocabulary"):
        add_word(pipe, WORD, embeddings_of(pipe, "is hugging"))
    unload_relation_embedding(pipe)
    assert all(torch.equal(a, b) for a, b in zip(before, encoded(pipe)))
    for encoder, tokenizer in ((pipe.text_encoder, pipe.tokenizer), (pipe.text_encoder_2, pipe.tokenizer_2)):
        assert encoder.config.vocab_size == len(tokenizer) == size
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
