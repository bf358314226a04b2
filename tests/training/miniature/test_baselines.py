"""Table 1 in small, at toy length on the shipped weights: recipes train what they say, and a killed run goes on."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from relationbooth_pipeline import miniature
from relationbooth_pipeline.evaluation.benches import open_cases
from relationbooth_pipeline.evaluation.systems.subjects import WORDS
from relationbooth_pipeline.relation_attention import cross_attention_layers
from training.miniature import baselines
from training.miniature.bench import choose_characters, name_of
from training.miniature.subjects import recipes
from training.miniature.subjects.words import text_parts

TOY = recipes.Tuning(steps=1, batch=2, learning_rate=1e-3, weight_decay=0.0)
RUNS = {"dreambooth": TOY, "textual-inversion": TOY, "custom-diffusion": replace(TOY, steps=2)}  # a pair takes turns


@pytest.fixture(scope="module")
def pipe():
    return baselines.load_base(miniature.path())


@pytest.fixture(scope="module")
def world(pipe, tmp_path_factory):
    """Two characters, their cases and all their trainings: (root, subjects, names of what was trained)."""
    root, characters = tmp_path_factory.mktemp("baselines"), choose_characters(2)
    baselines.write_cases_of(root / "bench", characters, ("hugging", "waving"))
    subjects = [baselines.subject_of(character, root / "bench") for character in characters]
    return root, subjects, list(baselines.trainings(pipe, root, subjects, RUNS))


def weights_of(pipe):
    parts = {"unet": pipe.unet, "first": pipe.text_encoder, "second": pipe.text_encoder_2}
    return {f"{part}.{n}": w.clone() for part, module in parts.items() for n, w in module.state_dict().items()}


def test_every_character_acts_alone_and_every_pair_together():
    characters = choose_characters(8)
    pairs = baselines.pairs_of(characters)
    assert len(pairs) == 8 and all(sum(c in pair for pair in pairs) == 2 for c in characters)
    assert all(first.species != second.species for first, second in pairs)


def test_the_cases_are_whole_and_name_the_files_of_their_objects(world):
    root, subjects, _ = world
    cases = open_cases(str(root / "bench")).check().cases
    assert [case.id for case in cases] == ["hugging-00", "hugging-01", "waving-00", "waving-01"]
    names = [subject.name for subject in subjects]
    assert [case.object_names for case in cases] == [(*names,), (*names[::-1],), *((name,) for name in names)]


def test_everything_is_trained_once_and_leaves_the_pipeline_as_it_was(pipe, world):
    root, subjects, done = world
    first, second = (subject.name for subject in subjects)
    assert done == [
        *(
            f"{kind}/{name}"
            for kind in ("dreambooth", "textual-inversion", "custom-diffusion")
            for name in (first, second)
        ),
        f"custom-diffusion/{first}+{second}",
        f"custom-diffusion/{second}+{first}",
    ]
    assert list(baselines.trainings(pipe, root, subjects, RUNS)) == []
    fresh = weights_of(baselines.load_base(miniature.path()))
    now = weights_of(pipe)
    assert now.keys() == fresh.keys() and all(torch.equal(now[name], fresh[name]) for name in fresh)


def test_the_same_seed_gives_the_same_files(pipe, world, tmp_path):
    root, subjects, _ = world
    recipes.custom_diffusion(pipe, subjects, tmp_path / "again", RUNS["custom-diffusion"])
    folder = root / "custom-diffusion" / "+".join(subject.name for subject in subjects)
    for file in folder.rglob("*.safetensors"):
        again = load_file(tmp_path / "again" / file.relative_to(folder))
        assert all(torch.equal(again[name], tensor) for name, tensor in load_file(file).items())


def test_custom_diffusion_without_steps_is_the_base(pipe, world, tmp_path):
    _, subjects, _ = world
    recipes.custom_diffusion(pipe, subjects[:1], tmp_path / "cd", replace(RUNS["custom-diffusion"], steps=0))
    kept = load_file(tmp_path / "cd" / recipes.CUSTOM_WEIGHTS)
    for path in cross_attention_layers(pipe.unet):
        layer = pipe.unet.get_submodule(path)
        for name in ("to_k", "to_v"):
            assert torch.equal(kept[f"{path}.processor.{name}_custom_diffusion.weight"], getattr(layer, name).weight)


def test_custom_diffusion_trains_keys_values_and_each_word_of_a_pair(pipe, world):
    root, subjects, _ = world
    folder = root / "custom-diffusion" / "+".join(subject.name for subject in subjects)
    for name, tensor in load_file(folder / recipes.CUSTOM_WEIGHTS).items():
        path, _, which = name.partition(".processor.")
        stock = getattr(pipe.unet.get_submodule(path), which.removesuffix("_custom_diffusion.weight")).weight
        assert not torch.equal(tensor, stock)
    start = recipes.embeddings_of(pipe, recipes.TOKEN)["clip_l"][0]
    words = [next(iter(load_file(folder / subject.name / WORDS[0]).values())) for subject in subjects]
    assert not torch.equal(words[0], start) and not torch.equal(words[1], start) and not torch.equal(*words)


def test_textual_inversion_starts_from_the_class_noun(pipe, world, tmp_path):
    _, subjects, _ = world
    recipes.textual_inversion(pipe, subjects[0], tmp_path / "ti", replace(RUNS["textual-inversion"], steps=0))
    for name, (_, tokenizer, encoder) in zip(WORDS, text_parts(pipe)):
        (number,) = tokenizer(subjects[0].noun, add_special_tokens=False).input_ids
        (learned,) = load_file(tmp_path / "ti" / name).values()
        assert torch.equal(learned, encoder.get_input_embeddings().weight[number])


def test_class_pictures_show_others_of_the_species(world):
    root, subjects, _ = world
    for character, subject in zip(choose_characters(2), subjects):
        assert name_of(character) == subject.name and len(subject.class_photos) == baselines.CLASS_PICTURES
        assert all(f" {subject.noun} is " in prompt for prompt in subject.class_prompts)


def test_the_table_has_a_row_for_every_system(world):
    root, _, _ = world
    words = {"is hugging": "hug.safetensors"}
    save_file({"clip_l": torch.ones(2, 128), "clip_g": torch.ones(2, 128)}, root / "hug.safetensors")
    (root / "relation_words.json").write_text(json.dumps(words), encoding="utf-8")
    ours = [text for text in baselines.SYSTEMS if text not in ("adapter", "sdxl", "shuffled:ours")]  # elsewhere tested
    text = baselines.evaluate(root, ours, steps=1)
    assert "two objects, 2 cases" in text and "one object, 2 cases" in text
    for row in ("ours", "relation-words", "dreambooth", "textual-inversion", "custom-diffusion", "collage"):
        assert text.count(f"| {row} |") == 3
    assert "found by miniature annotator" in text


@pytest.mark.parametrize("flags, told", [
    (["--characters", "1"], "`--characters` must be 2 to"),
    (["--characters", "1000"], "got 1000"),
    (["--steps_scale", "0"], "`--steps_scale` must be above 0, got 0.0"),
    (["--poses", "flying"], "invalid choice: 'flying'"),
])  # fmt: skip
def test_what_no_comparison_can_be_made_of_is_refused(flags, told, tmp_path, capsys):
    with pytest.raises(SystemExit):
        baselines.main(["--output_dir", str(tmp_path), *flags])
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", (["--steps_scale", "0.5"], ["--characters", "4"], ["--poses", "waving"]))
def test_a_folder_is_of_one_comparison(flags, tmp_path, monkeypatch):
    class Begun(Exception):
        pass

    def begun(*given):
        raise Begun

    monkeypatch.setattr(baselines, "write_cases_of", begun)
    with pytest.raises(Begun):
        baselines.main(["--output_dir", str(tmp_path)])
    with pytest.raises(ValueError, match="holds what was made for another"):
        baselines.main(["--output_dir", str(tmp_path), *flags])
