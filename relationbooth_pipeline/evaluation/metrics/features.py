"""Features, computed once a picture and model, kept by content in safetensors files."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...digests import file_digest
from ...relation_files import whole_file
from ...relation_images import open_image
from ...vision.pictures import picture_digest
from ...vision.towers import Tower

FEATURES = "features"


class FeatureStore:
    """A tower's features, kept in memory and in `folder`.

    Args:
        folder: of the run; None keeps them in memory alone.
        batch_size: pictures a pass. 1 makes a feature independent of what else is in the batch, to the last digit.
    """

    def __init__(self, tower: Tower, folder: Path | None, batch_size: int = 1):
        self.tower, self.batch_size = tower, batch_size
        key = hashlib.sha256(f"{tower.checkpoint}|{tower.preprocessing}".encode()).hexdigest()[:16]
        self.folder = folder / FEATURES / key if folder is not None else None
        self._known: dict[str, torch.Tensor] = {}
        self._of_files: dict[str, torch.Tensor] = {}

    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """(B, D), each of unit length."""
        names = [picture_digest(picture) for picture in pictures]
        return self._features(names, pictures, self.tower.image_features)

    def photos(self, paths: Sequence[Path]) -> torch.Tensor:
        """(B, D) of photos that many cases share: each file is opened once."""
        digests = [file_digest(path) for path in paths]
        new = {digest: path for digest, path in zip(digests, paths) if digest not in self._of_files}
        if new:
            self._of_files |= zip(new, self.images([open_image(path) for path in new.values()]))
        return torch.stack([self._of_files[digest] for digest in digests])

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, D), each of unit length."""
        names = ["text-" + hashlib.sha256(text.encode()).hexdigest() for text in texts]
        return self._features(names, texts, self.tower.text_features)

    def _features(self, names: list[str], inputs: Sequence, compute: Callable) -> torch.Tensor:
        for name in names:
            if name not in self._known and (found := self._read(name)) is not None:
                self._known[name] = found
        new = {name: value for name, value in zip(names, inputs) if name not in self._known}
        order = list(new)
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            computed = torch.nn.functional.normalize(compute([new[name] for name in part]).float(), dim=-1)
            for name, feature in zip(part, computed):
                self._known[name] = feature.clone()
                self._write(name)
        return torch.stack([self._known[name] for name in names])

    def _path(self, name: str) -> Path:
        return self.folder / name[-2:] / f"{name}.safetensors"

    def _read(self, name: str) -> torch.Tensor | None:
        if self.folder is None or not self._path(name).is_file():
            return None
        try:
            return load_file(self._path(name))["feature"]
        except (SafetensorError, KeyError) as error:
            raise ValueError(
                f"the kept feature `{self._path(name)}` is damaged ({error}). Remove the folder `{self.folder}`: "
                "it is computed again."
            ) from error

    def _write(self, name: str) -> None:
        if self.folder is None:
            return
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            save_file({"feature": self._known[name]}, temporary)
