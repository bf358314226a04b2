"""Which adapter and encoders a RelationLoRA is trained with: those that the options name, wherever the base lies."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import tiny_pipeline, tiny_vision
from training import train_relation_lora_sdxl as script
from training.common.options import BaseOptions
from training.lora.arguments import AdapterOptions

OWN = AdapterOptions(None, None, None, None)


@pytest.fixture(params=["a folder beside", "components", "components on the Hub"])
def own_adapter(request, base, tmp_path, monkeypatch):
    """A base model that brings its adapter. The Hub is simulated: a repository of that name comes from a folder."""
    if request.param == "a folder beside":
        return BaseOptions(str(base))
    folder = tmp_path / "saved"
    tiny_pipeline().save_pretrained(folder)
    if request.param == "components":
        return BaseOptions(str(folder))

    def download(name, revision=None, **kwargs):
        assert (name, revision) == ("owner/saved", "v1")
        return str(folder)

    load_base = script.load_base
    monkeypatch.setattr(
        script, "load_base", lambda b, dtype: load_base(replace(b, pretrained_model_name_or_path=str(folder)), dtype)
    )
    monkeypatch.setattr("relationbooth_pipeline.relation_image_encoder.snapshot_download", download)
    return BaseOptions("owner/saved", revision="v1")


def load(base, **named):
    return script.load_pipeline(base, replace(OWN, **named), torch.float32)


def test_named_encoders_take_the_place_of_those_of_the_base_model_s_own_adapter(own_adapter, tmp_path):
    tiny_vision(seed=9).save_pretrained(tmp_path / "tower")
    pipe, other = load(own_adapter), load(own_adapter, image_encoder=str(tmp_path / "tower"))
    weights = [next(p.image_prompt_encoder.parameters()) for p in (pipe, other)]
    assert not torch.equal(*weights)
    assert pipe.local_image_encoder is not None and other.local_image_encoder is not None
    assert load(own_adapter, local_image_encoder="none").local_image_encoder is None


def test_a_base_model_without_an_adapter_needs_one_by_name(tmp_path):
    tiny_pipeline(adapter=False).save_pretrained(tmp_path)
    for named in ({}, {"local_image_encoder": "none"}):
        with pytest.raises(ValueError, match="`--relation_adapter` must name an adapter: `.*` brings none of its own"):
            load(BaseOptions(str(tmp_path)), **named)
