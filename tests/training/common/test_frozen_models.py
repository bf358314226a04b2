"""The base's VAE from a folder and from one file."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.single_file import vae_state
from training.common.frozen_models import check_vae_file, load_vae
from training.common.options import BaseOptions

FILE = "vae/diffusion_pytorch_model.safetensors"


def of(base, source) -> BaseOptions:
    return BaseOptions(str(base), None if source is None else str(source))


@pytest.mark.parametrize("names", ["diffusers", "original"])
def test_a_file_gets_the_config_of_the_base_s_vae(base, tmp_path, monkeypatch, names):
    """Without the network, which diffusers would ask for the config of what it takes the file for."""
    monkeypatch.setattr("training.common.frozen_models.hf_hub_download", pytest.fail)
    vae = load_vae(of(base, base / "vae"), torch.float32)
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(1)  # another VAE than the base's
    renamed = vae_state(vae) if names == "original" else vae.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, tmp_path / "vae.safetensors")
    found = load_vae(of(base, tmp_path / "vae.safetensors"), torch.float32)
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in vae.state_dict().items())
    assert {k: v for k, v in found.config.items() if k[0] != "_"} == {
        k: v for k, v in vae.config.items() if k[0] != "_"
    }


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_a_file_that_does_not_fit_is_refused(base, tmp_path, damage):
    weights = load_file(base / FILE)
    name = "encoder.conv_in.weight"
    if damage == "missing":
        del weights[name]
    else:
        weights[name] = weights[name][:, :, :1, :1].contiguous()
    save_file(weights, tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match="does not fit the config of the base model's VAE .* Use a VAE made for SDXL"):
        load_vae(of(base, tmp_path / "vae.safetensors"), torch.float32)


def test_pickles_and_damaged_files_are_refused_before_anything_loads(base, tmp_path):
    for name, message in (
        ("vae.pt", "got `.*vae.pt`. Convert it to safetensors"),
        ("vae.safetensors", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(b"no such thing")
        with pytest.raises(ValueError, match=message):
            check_vae_file(of(base, tmp_path / name))
    for fine in (None, base / "vae", "madebyollin/sdxl-vae-fp16-fix"):
        check_vae_file(of(base, fine))
