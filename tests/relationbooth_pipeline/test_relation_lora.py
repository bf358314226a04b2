"""RelationLoRA: files, header, and life beside the adapter."""

import json

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import relationbooth_pipeline
from relationbooth_pipeline import RelationMetadata, read_relation_metadata, relation_lora, write_relation_metadata
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, close, generate
from tests.tiny import tiny_components, tiny_pipeline, tiny_unet

TARGETS = ["attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"]
FILE = "pytorch_lora_weights.safetensors"
HUG = RelationMetadata(
    relation="hug",
    predicate="is hugging",
    template="A {0} is hugging a {1}",
    scale=0.8,
    layout_prior=[[0.0, 0.2, 0.6, 0.9], [0.4, 0.2, 1.0, 0.9]],
)


def make_lora(folder, seed=0, rank=4, alpha=4, metadata=HUG, name=FILE, config=None, **unet):
    """A RelationLoRA with random weights, written by diffusers' own saver. `config`: more of PEFT's LoraConfig."""
    model = tiny_unet(**unet)
    torch.manual_seed(seed)
    settings = {"r": rank, "lora_alpha": alpha, "target_modules": TARGETS, **(config or {})}
    model.add_adapter(LoraConfig(**settings, init_lora_weights=False))
    StableDiffusionXLPipeline.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(model),
        unet_lora_adapter_metadata=settings,
        weight_name=name,
    )
    if metadata:
        write_relation_metadata(folder / name, metadata)
    return folder


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    return make_lora(tmp_path_factory.mktemp("hug"))


@pytest.fixture
def pipe():
    return tiny_pipeline()


def test_the_header_survives_and_tensors_and_alpha_stay(tmp_path):
    make_lora(tmp_path, alpha=8, metadata=None)
    before, header = load_file(tmp_path / FILE), safe_open(tmp_path / FILE, "pt").metadata()
    write_relation_metadata(tmp_path / FILE, HUG)
    assert read_relation_metadata(tmp_path / FILE) == HUG
    assert header.items() <= safe_open(tmp_path / FILE, "pt").metadata().items()
    after = load_file(tmp_path / FILE)
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_loading_before_or_after_the_adapter_is_the_same(lora, tmp_path, pipe):
    pipe.save_relation_adapter(tmp_path / "adapter")
    pipe.load_lora_weights(lora, weight_name=FILE)
    first = tiny_pipeline(adapter=False)
    first.load_lora_weights(lora, weight_name=FILE)
    first.load_relation_adapter(tmp_path / "adapter")
    assert torch.equal(generate(first, **TWO), generate(pipe, **TWO))


def test_it_changes_the_picture_and_unloads_without_a_trace(lora, pipe):
    before = generate(pipe, **TWO)
    pipe.load_lora_weights(lora, weight_name=FILE, adapter_name="hug")
    assert not torch.allclose(generate(pipe, **TWO), before, atol=1e-2)
    pipe.unload_lora_weights()
    assert torch.equal(generate(pipe, **TWO), before) and pipe.relation_metadata == {}


def test_scale_through_cross_attention_kwargs_equals_the_adapters_weight(lora, pipe):
    pipe.load_lora_weights(lora, weight_name=FILE, adapter_name="hug")
    scaled = generate(pipe, **TWO, cross_attention_kwargs={"scale": 0.5})
    pipe.set_adapters("hug", 0.5)
    close(generate(pipe, **TWO), scaled)


def test_fusing_and_unfusing(lora, pipe):
    before = generate(pipe, **TWO)
    pipe.load_lora_weights(lora, weight_name=FILE)
    active = generate(pipe, **TWO)
    pipe.fuse_lora()
    close(generate(pipe, **TWO), active)
    pipe.unfuse_lora()
    close(generate(pipe, **TWO), active)
    pipe.unload_lora_weights()
    close(generate(pipe, **TWO), before)


def test_two_at_once_and_the_prior_of_the_heaviest(lora, tmp_path, pipe):
    other = RelationMetadata(
        "carry", "is carrying", "A {0} is carrying a {1}", layout_prior=[[0, 0, 1, 0.5], [0, 0.5, 1, 1]]
    )
    make_lora(tmp_path, seed=1, metadata=other)
    pipe.load_lora_weights(lora, weight_name=FILE, adapter_name="hug")
    pipe.load_lora_weights(tmp_path, weight_name=FILE, adapter_name="carry")
    assert pipe.relation_metadata == {"hug": HUG, "carry": other}
    pipe.set_adapters(["hug", "carry"], [0.3, 0.7])
    assert pipe.layout(2) == other.layout_prior
    pipe.set_adapters(["hug", "carry"], [0.7, 0.3])
    assert pipe.layout(2) == HUG.layout_prior
    pipe.set_adapters("carry")
    assert pipe.layout(2) == other.layout_prior
    assert torch.equal(generate(pipe, **TWO), generate(pipe, **TWO, boxes=other.layout_prior))
    pipe.delete_adapters("carry")
    pipe.set_adapters("hug")
    assert pipe.layout(2) == HUG.layout_prior


def test_a_prior_for_another_number_of_objects_falls_back_to_side_by_side(lora, pipe):
    pipe.load_lora_weights(lora, weight_name=FILE)
    assert pipe.layout(3) == [[i / 3, 0.1, (i + 1) / 3, 0.9] for i in range(3)]


def test_the_file_loads_into_plain_sdxl(lora, pipe):
    """Relation inversion: the same numbers as our pipeline without image prompts."""
    stock = StableDiffusionXLPipeline(**tiny_components())
    stock.set_progress_bar_config(disable=True)
    stock.load_lora_weights(lora, weight_name=FILE)
    pipe.load_lora_weights(lora, weight_name=FILE)
    assert torch.equal(generate(pipe), generate(stock))


def test_the_released_key_format_and_a_style_lora_without_header(lora, tmp_path, pipe):
    state = {
        k.replace("lora_A.weight", "lora.down.weight").replace("lora_B.weight", "lora.up.weight"): v
        for k, v in load_file(lora / FILE).items()
    }
    save_file(state, tmp_path / FILE, metadata={"format": "pt"})
    pipe.load_lora_weights(tmp_path, weight_name=FILE, adapter_name="released")
    released = generate(pipe, **TWO, boxes=HUG.layout_prior)
    assert pipe.relation_metadata == {}
    pipe.unload_lora_weights()
    pipe.load_lora_weights(lora, weight_name=FILE)
    close(generate(pipe, **TWO), released)


def test_a_damaged_file_or_header_is_refused(lora, tmp_path):
    data = (lora / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[:500])
    with pytest.raises(ValueError, match="no intact safetensors file"):
        read_relation_metadata(tmp_path / FILE)
    save_file({"a": torch.ones(1)}, tmp_path / FILE, metadata={"relationbooth": "{"})
    with pytest.raises(ValueError, match="damaged `relationbooth` header"):
        read_relation_metadata(tmp_path / FILE)
    for header in ("[]", '{"relation": "a"}', '{"relation": 1, "predicate": "b", "template": "c"}'):
        save_file({"a": torch.ones(1)}, tmp_path / FILE, metadata={"relationbooth": header})
        with pytest.raises(ValueError, match="damaged `relationbooth` header"):
            read_relation_metadata(tmp_path / FILE)
    with pytest.raises(ValueError, match="must be XYXY in"):
        RelationMetadata("a", "b", "c", layout_prior=[[0, 0, 512, 512]])
    with pytest.raises(ValueError, match="`scale` must be a finite number, got nan"):
        RelationMetadata("a", "b", "c", scale=float("nan"))


def test_fields_of_later_versions_are_passed_over(tmp_path):
    header = {"relation": "a", "predicate": "b", "template": "c", "author": "d", "keypoints": [[0.5, 0.5]]}
    save_file({"a": torch.ones(1)}, tmp_path / FILE, metadata={"relationbooth": json.dumps(header)})
    assert read_relation_metadata(tmp_path / FILE) == RelationMetadata("a", "b", "c")


def test_hotswapping_reads_the_new_header(lora, tmp_path, pipe):
    other = RelationMetadata("kiss", "is kissing", "A {0} is kissing a {1}")
    make_lora(tmp_path, seed=2, metadata=other)
    pipe.enable_lora_hotswap(target_rank=4)
    pipe.load_lora_weights(lora, weight_name=FILE, adapter_name="relation")
    first = generate(pipe, **TWO, boxes=HUG.layout_prior)
    pipe.load_lora_weights(tmp_path, weight_name=FILE, adapter_name="relation", hotswap=True)
    assert pipe.relation_metadata == {"relation": other}
    assert not torch.allclose(generate(pipe, **TWO, boxes=HUG.layout_prior), first, atol=1e-3)


def test_what_others_import_from_here_stays_here():
    """Programs of users name this module for the header's functions and the file's name."""
    for name in ("RelationMetadata", "read_relation_metadata", "write_relation_metadata"):
        assert getattr(relation_lora, name) is getattr(relationbooth_pipeline, name)
    assert relation_lora.WEIGHT_NAME == "pytorch_lora_weights.safetensors"
