"""Digests of weights: contents count, not where they lie; what a training run leaves beside its result does not."""

from training.common.digests import contents_digest, model_digest, model_facts


def test_a_model_is_its_weights_wherever_it_lies(tmp_path):
    digests = []
    for place in ("here", "there"):
        (tmp_path / place / "unet").mkdir(parents=True)
        (tmp_path / place / "unet" / "model.safetensors").write_bytes(b"weights")
        (tmp_path / place / "unet" / "openvino_model.bin").write_bytes(place.encode())  # nothing that is loaded
        digests.append(model_digest(tmp_path / place, ("unet",)))
    assert digests[0] == digests[1] == model_digest(tmp_path / "here" / "unet" / "model.safetensors")
    (tmp_path / "here" / "unet" / "checkpoint-5").mkdir()
    (tmp_path / "here" / "unet" / "checkpoint-5" / "trained.safetensors").write_bytes(b"other")
    assert model_digest(tmp_path / "here", ("unet",)) == digests[0]
    (tmp_path / "here" / "unet" / "model.safetensors").unlink()
    assert model_digest(tmp_path / "here", ("unet",)) != digests[0]  # the pickle is what loads now


def test_the_order_of_files_counts(tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(b"a")
    second.write_bytes(b"b")
    orders = [[first, second], [second, first], [first, first], [first]]
    assert len({contents_digest(files) for files in orders}) == len(orders)


def test_of_repositories_nothing_is_noted(tmp_path):
    (tmp_path / "vae.safetensors").write_bytes(b"vae")
    models = {"base": ("owner/name", ("unet",)), "vae": (tmp_path / "vae.safetensors", ("",)), "adapter": (None, ())}
    assert model_facts(models) == {"vae_digest": contents_digest([tmp_path / "vae.safetensors"])}
