"""Finished pictures: kept with their settings, told as lines of Python, and read back."""

import contextlib
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .drawing import Drawn
from .studio import Studio

if TYPE_CHECKING:
    from PIL import Image

    from ..generation.drawing import Generation
    from ..generation.settings import GenerationSettings

# In a written picture beside the settings.
NOT_SETTINGS = ("kind", "pictures", "lora_sha256", "relationbooth_version", "compared")


class Results:
    """Writes pictures and sheets to a folder of the server's own, copies them to the host's, finds references.

    Args:
        served: folder that the page serves from; every file gets a name that nobody can guess.
        kept: the host's folder (`--results`), or None to keep nothing.
        shared: whether one person uses all pages, so that a photo of one page may return in another.
    """

    def __init__(self, studio: Studio, served: Path, kept: Path | None = None, shared: bool = True):
        self.studio, self.served, self.kept, self.shared = studio, served, kept, shared
        self.photos: dict[str, str] = {}  # hash → path, of all pages where `shared`

    def remember(self, path: str) -> None:
        """A photo that drew a picture is found again when that picture comes back."""
        from ..generation.settings import sha256

        if self.shared:
            self.photos[sha256(path)] = path
            if self.kept is not None:
                target = self.kept / "references" / f"{sha256(path)}{Path(path).suffix.lower()}"
                if not target.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)

    def example(self, path: Path) -> str:
        """A copy of an example's photo where the page may serve it from."""
        target = self.served / "examples" / path.name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return str(target)

    def found(self, reference: str | dict) -> str | None:
        """Path of a reference by its hash: an example's, or a photo's that this person gave before."""
        from ..generation.settings import sha256

        if not isinstance(reference, dict):
            return None
        known = {sha256(file): self.example(file) for _, file in self.studio.examples} | self.photos
        path = known.get(reference["sha256"])
        if path is None and self.shared and self.kept is not None:
            kept = [f for f in (self.kept / "references").glob("*") if f.stem == reference["sha256"]]
            path = str(kept[0]) if kept else None
        return path if path is not None and Path(path).is_file() else None

    def keep(self, drawn: Drawn, images: list[str]) -> tuple[Path, dict]:
        """Write a drawn picture; (its file, the settings in it)."""
        from ..generation.drawing import picture_record

        for path in images:
            self.remember(path)
        settings = picture_record(drawn.generation, drawn.picture, drawn.index)
        return self.write(drawn.picture, settings, f"{settings['seed']}"), settings

    def write(self, picture: "Image.Image", settings: dict, name: str) -> Path:
        """A PNG with settings, served and, where the host wants it, kept."""
        from ..sheets.png_settings import save_png

        folder = self.served / secrets.token_hex(16)
        folder.mkdir(parents=True, mode=0o700)
        path = folder / f"relationbooth-{time.strftime('%Y%m%d-%H%M%S')}-{name}.png"
        save_png(picture, path, settings)
        if self.kept is not None:
            save_png(picture, self.kept / f"{path.stem}-{folder.name[:6]}.png", settings)
        return path

    def sheet(self, generation: "Generation", pictures: dict, settings: dict, name: str) -> Path:
        """References, boxes and pictures (label → picture) on one sheet."""
        from ..sheets.contact import contact_sheet

        note = None
        if generation.is_illustration:
            note = "Drawn by the embedded miniature, which knows cartoons alone: an illustration."
        images, boxes = generation.images, generation.boxes
        if images and not boxes:
            boxes = [[0.0, 0.0, 1.0, 1.0]] * len(images)  # automatic layout: anywhere
        page = contact_sheet(images, generation.settings.phrase, boxes, pictures, generation.settings.prompt, note)
        return self.write(page, settings | {"kind": "sheet", "pictures": len(pictures)}, name)

    def read(self, path: str) -> "tuple[GenerationSettings, list]":
        """Of a picture that this package wrote: `GenerationSettings`, each reference as it is told there, and what it
        tells of its LoRAs' content: SHA-256s, or whatever else stands there.

        Raises:
            ValueError: no such picture, or its settings are damaged.
        """
        from ..generation.requests import settings_from
        from ..relation_images import open_image
        from ..sheets.png_settings import read_png_settings

        open_image(path)  # its limits hold before text chunks are looked for
        settings = read_png_settings(path)
        if settings is None:
            raise ValueError("this picture carries no settings: take one that this page or `generate` wrote.")
        told = settings.get("lora_sha256")
        return settings_from(settings, ignored=NOT_SETTINGS), told if isinstance(told, list) else []


def forget(folder: Path, age: float) -> None:
    """Remove the files in `folder` and below that are older than `age` seconds, and the folders that are then empty."""
    last = time.time() - age
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds comes before it
        with contextlib.suppress(FileNotFoundError):  # somebody else's cleaning was faster
            if path.lstat().st_ctime > last:
                continue
            if not path.is_dir():
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()
