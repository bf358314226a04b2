"""Systems that draw with our pipeline or plain SDXL, on a tiny real one."""

import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.evaluation.systems import SystemOptions, build_systems
from relationbooth_pipeline.relation_images import open_image
from tests.tiny import TEXT_WIDTH

from .tiny_pipelines import GUIDANCE, SEEDS, bench, drawn, options, same, world  # noqa: F401


def test_our_systems_are_the_pipeline_s_own_call(world, bench, options, tmp_path):
    case = bench.cases[0]
    systems = build_systems(["ours", "adapter", "late", "sdxl"], options)
    for system in systems:
        system.prepare(bench, tmp_path)
    ours, adapter, late, sdxl = (drawn(system, case, bench) for system in systems)
    photos = [open_image(path) for path in bench.image_prompts(case)]
    pipe = RelationBoothPipeline.from_pretrained(world / "model")
    pipe.load_relation_adapter(world / "model" / "relation_adapter")

    def called(pipe, **arguments):
        generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
        pictures = pipe(case.prompt, num_images_per_prompt=2, generator=generators, **GUIDANCE, **arguments).images
        return [np.asarray(picture) for picture in pictures]

    prompts = {"image_prompts": photos, "phrases": ["cat", "bear"], "boxes": [list(b) for b in case.boxes]}
    prompts["image_prompt_scale"] = 1.0
    assert same(adapter, called(pipe, **prompts))
    assert same(sdxl, called(StableDiffusionXLPipeline.from_pretrained(world / "model")))
    pipe.load_lora_weights(world / "model" / "relation_loras" / "hug", adapter_name="hug")
    pipe.set_adapters(["hug"], [0.7])  # the header's own scale
    assert same(ours, called(pipe, **prompts))
    for first, second in ((ours, adapter), (adapter, sdxl), (late, adapter), (late, sdxl)):
        assert not same(first, second)


def test_switching_between_systems_leaves_no_trace(bench, options, tmp_path):
    case, systems = bench.cases[0], build_systems(["ours", "adapter", "late", "sdxl"], options)
    first = [drawn(system, case, bench) for system in systems]
    again = [drawn(system, case, bench) for system in reversed(systems)][::-1]
    assert all(same(a, b) for a, b in zip(first, again))


def test_late_image_prompts_act_from_their_step_on(world, bench, options):
    case = bench.cases[0]
    (adapter,) = build_systems(["adapter"], options)
    base = drawn(adapter, case, bench)
    for start, equal in ((0, True), (2, False)):
        (late,) = build_systems(["late"], SystemOptions(options.generation, late_start=start))
        assert same(drawn(late, case, bench), base) is equal
    with pytest.raises(ValueError, match=r"`start_step` must be in \[0, 3\), got 3"):
        build_systems(["late"], SystemOptions(options.generation, late_start=3))


def test_a_learned_word_stands_for_what_the_prompt_says_of_the_relation(world, bench, options, tmp_path):
    case, generator = bench.cases[0], torch.Generator().manual_seed(0)
    words = {key: torch.randn(2, TEXT_WIDTH, generator=generator) for key in ("clip_l", "clip_g")}
    save_file(words, tmp_path / "hug.safetensors")
    table = tmp_path / "words.json"
    table.write_text(json.dumps({"is hugging": "hug.safetensors"}), encoding="utf-8")
    words_system, adapter = build_systems([f"relation-words:{table}", "adapter"], options)
    words_system.prepare(bench, tmp_path)
    pictures = drawn(words_system, case, bench)
    pipe = RelationBoothPipeline.from_pretrained(world / "model")
    pipe.load_relation_adapter(world / "model" / "relation_adapter")
    for key, tokenizer, encoder in (
        ("clip_l", pipe.tokenizer, pipe.text_encoder),
        ("clip_g", pipe.tokenizer_2, pipe.text_encoder_2),
    ):
        pipe.load_textual_inversion(words[key], token="<hug>", tokenizer=tokenizer, text_encoder=encoder)
    expected = pipe(
        case.prompt.replace("is hugging", "<hug>"), num_images_per_prompt=2, **GUIDANCE,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS], image_prompt_scale=1.0,
        image_prompts=[open_image(path) for path in bench.image_prompts(case)],
        phrases=["cat", "bear"], boxes=[list(b) for b in case.boxes],
    ).images  # fmt: skip
    assert same(pictures, [np.asarray(picture) for picture in expected])
    other = bench.cases[2]  # says nothing that a word replaces
    assert same(drawn(words_system, other, bench), drawn(adapter, other, bench))
    assert words_system.settings(case)["word"][0] == "is hugging" and words_system.settings(other)["word"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be JSON such as"),
        ('{"is hugging": "gone.safetensors"}', "names no file: .*gone"),
        ("{}", "has a word for no prompt of these cases; it replaces: nothing"),
    ],
)
def test_tables_of_words_that_cannot_be_are_refused(bench, options, tmp_path, text, message):
    (tmp_path / "words.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        build_systems([f"relation-words:{tmp_path / 'words.json'}"], options)[0].prepare(bench, tmp_path)


def test_a_table_chooses_the_relationlora(world, bench, options, tmp_path):
    file = world / "model" / "relation_loras" / "hug" / "pytorch_lora_weights.safetensors"
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"Hugging": [str(file), 0.3]}), encoding="utf-8")
    (system,) = build_systems(["ours"], SystemOptions(options.generation, lora_table=table))
    assert system.settings(bench.cases[0])["lora"][1] == 0.3
    assert system.settings(bench.cases[2])["lora"] is None
    table.write_text(json.dumps({"kissing": str(file)}), encoding="utf-8")
    (system,) = build_systems(["ours"], SystemOptions(options.generation, lora_table=table))
    with pytest.raises(
        ValueError, match="for no predicate of these cases; it has: kissing. Name them with `--lora-table`"
    ):
        system.prepare(bench, tmp_path)
    for text, message in (("[]", "must be JSON such as"), ('{"hug": "gone.safetensors"}', "no LoRA file")):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            build_systems(["ours"], SystemOptions(options.generation, lora_table=table))
