"""Features: once a picture and model, kept by content, and told apart by checkpoint."""

import pytest
import torch

from relationbooth_pipeline.evaluation.metrics import features
from relationbooth_pipeline.evaluation.metrics.features import FeatureStore, picture_digest
from relationbooth_pipeline.relation_images import open_image
from tests.tiny import photo


class Counting:
    """A tower that counts its pictures; a feature is the mean colour."""

    preprocessing = "none"

    def __init__(self, checkpoint="one"):
        self.checkpoint, self.batches = checkpoint, []

    def image_features(self, images):
        self.batches.append(len(images))
        values = [
            torch.frombuffer(bytearray(i.tobytes()), dtype=torch.uint8).view(-1, 3).float().mean(0) for i in images
        ]
        return torch.stack(values)

    def text_features(self, texts):
        self.batches.append(len(texts))
        return torch.tensor([[float(len(text)), 1.0, 2.0] for text in texts])


def test_every_picture_is_read_once_in_batches_and_never_again(tmp_path):
    pictures = [photo(0), photo(1), photo(0), photo(2)]
    tower = Counting()
    store = FeatureStore(tower, tmp_path, batch_size=2)
    first = store.images(pictures)
    assert tower.batches == [2, 1] and torch.equal(first[0], first[2])
    assert torch.allclose(first.norm(dim=1), torch.ones(4))
    store.images(pictures)
    other = Counting()
    assert torch.equal(FeatureStore(other, tmp_path).images(pictures), first)
    assert tower.batches == [2, 1] and other.batches == []


def test_a_photo_s_file_is_opened_once(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        photo(number).save(path)
    store = FeatureStore(Counting(), tmp_path / "run", batch_size=8)
    first = store.photos(paths[:2])
    opened = []
    monkeypatch.setattr(features, "open_image", lambda path: opened.append(path) or open_image(path))
    again = store.photos([paths[1], paths[2], paths[0]])
    assert opened == paths[2:] and torch.equal(again[[2, 0]], first)
    assert torch.equal(again, store.images([photo(1), photo(2), photo(0)]))
    photo(7).save(paths[0])  # another photo under the same name
    assert torch.equal(store.photos(paths[:1]), store.images([photo(7)]))


def test_another_checkpoint_is_another_feature(tmp_path):
    FeatureStore(Counting("one"), tmp_path).images([photo(0)])
    other = Counting("two")
    FeatureStore(other, tmp_path).images([photo(0)])
    assert other.batches == [1]


def test_a_picture_is_its_pixels_and_size():
    assert picture_digest(photo(0)) == picture_digest(photo(0)) != picture_digest(photo(1))
    assert picture_digest(photo(0, (4, 6))) != picture_digest(photo(0, (6, 4)))


def test_texts_are_kept_beside_pictures(tmp_path):
    store = FeatureStore(Counting(), tmp_path)
    assert torch.allclose(store.texts(["abc"])[0], torch.tensor([3.0, 1.0, 2.0]) / 14**0.5)


def test_a_damaged_feature_is_told(tmp_path):
    FeatureStore(Counting(), tmp_path).images([photo(0)])
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(ValueError, match="is damaged .* Remove the folder"):
        FeatureStore(Counting(), tmp_path).images([photo(0)])
