"""The folder of one plan: pictures by their digest, and one record of each candidate and stage, every file whole."""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...relation_files import whole_file
from ...relation_images import open_image, short_repr
from .candidates import Candidate

PLAN = "plan.json"
PICTURES = "pictures"
# Stages whose record makes a candidate: drawn here, or brought as files.
SOURCES = ("same", "given")
DIGEST_LENGTH = 32  # hexadecimal digits: 128 bits


class WorkFolder:
    """Files of one plan; every stage reads those of the stages before and writes its own, so any of them may run again.

    ```text
    plan.json                      what the folder is about
    pictures/<digest>.png, .json   a picture or mask, named by the SHA-256 of its file's bytes, and its provenance
    <stage>/<candidate id>.json    {"inputs": digest of all that the stage read, …}
    ```
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def plan(self) -> dict | None:
        """What the folder is about, None before it is claimed."""
        path = self.root / PLAN
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def claim(self, plan: dict) -> None:
        """Make the folder this plan's, or see that it is.

        Raises:
            ValueError: as `check_plan`.
        """
        self.check_plan(plan)
        if self.plan() is None:
            self.root.mkdir(parents=True, exist_ok=True)
            with whole_file(self.root / PLAN) as temporary:
                temporary.write_text(_as_text(plan), encoding="utf-8")

    def check_plan(self, plan: dict) -> None:
        """Raise a ValueError for a folder that is another plan's (the fields that differ are named), or holds other
        things; nothing is written."""
        old, plan = self.plan(), json.loads(json.dumps(plan))
        self._refuse_file()
        if old is not None:
            other = [name for name in sorted({*old, *plan}) if old.get(name) != plan.get(name)]
            if other:
                told = "; ".join(
                    f"`{name}` is {short_repr(old.get(name))} there, {short_repr(plan.get(name))} here"
                    for name in other
                )
                raise ValueError(
                    f"the work folder `{self.root}` belongs to another plan: {told}. Choose another folder, or give "
                    "the same plan."
                )
            return
        if self.root.is_dir() and any(not entry.name.startswith(".") for entry in self.root.iterdir()):
            raise ValueError(
                f"the folder `{self.root}` holds other things than a plan's work. Choose a new or empty folder."
            )

    def _refuse_file(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"the work folder `{self.root}` is a file. Choose a new or empty folder.")

    @contextlib.contextmanager
    def locked(self, name: str = "work") -> Iterator[None]:
        """Held while one process works here: two at once would pay twice. A process that dies lets go of it.

        Args:
            name: processes that share the work among n have names that end in "-of-n".
        Raises:
            ValueError: another process holds it, or works with another n; or it is a file.
        """
        from filelock import FileLock, Timeout  # huggingface_hub brings it

        self._refuse_file()
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / f".{name}.lock", timeout=0):
                ending = f"-of-{name.rpartition('-of-')[2]}.lock"
                for file in self.root.glob(".*-of-*.lock"):
                    if not file.name.endswith(ending):
                        with FileLock(file, timeout=0):
                            pass
                yield
        except Timeout as error:
            raise ValueError(
                f"another process works in `{self.root}`. Wait for it, or give each process its own `--shard i/n`, "
                "with the same n."
            ) from error

    def sweep(self) -> None:
        """Remove what a killed process left half-written. Only while nobody else works here."""
        for file in self.root.rglob(".*.tmp"):
            file.unlink(missing_ok=True)

    def keep_picture(self, image: Image.Image, provenance: dict) -> str:
        """Write a picture as PNG, and where it comes from beside it; the same picture twice is kept once.

        Args:
            provenance: "model", "prompt", "seed", "parents" (digests), "request_id", "source" (a file's name alone);
                of a picture that is there already, the first stays.
        Returns:
            Its digest.
        """
        return self._keep(image.convert("RGB"), provenance)

    def keep_mask(self, mask: np.ndarray) -> str:
        """Write a boolean (H, W) mask as a PNG of one bit a pixel.

        Returns:
            Its digest.
        """
        if mask.ndim != 2 or mask.dtype != bool:
            raise ValueError(f"a mask must be a boolean array (H, W), got {mask.dtype} of shape {mask.shape}.")
        return self._keep(Image.fromarray(mask), None)

    def _keep(self, image: Image.Image, provenance: dict | None) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:DIGEST_LENGTH]
        path = self.picture_path(digest)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            if provenance is not None:  # first: a picture is never without it
                with whole_file(path.with_suffix(".json")) as temporary:
                    temporary.write_text(_as_text(provenance), encoding="utf-8")
            with whole_file(path) as temporary:
                temporary.write_bytes(buffer.getvalue())
        return digest

    def picture_path(self, digest: str) -> Path:
        return self.root / PICTURES / f"{digest}.png"

    def picture(self, digest: str) -> Image.Image:
        """An RGB picture."""
        return open_image(self.picture_path(digest))

    def mask(self, digest: str) -> np.ndarray:
        """A boolean (H, W) mask."""
        with Image.open(self.picture_path(digest), formats=("PNG",)) as image:
            return np.asarray(image.convert("1"))

    def provenance(self, digest: str) -> dict:
        return json.loads(self.picture_path(digest).with_suffix(".json").read_text(encoding="utf-8"))

    def candidates(self) -> list[Candidate]:
        """Those whose target and objects are there, in the order of their ids."""
        files = [file for stage in SOURCES for file in (self.root / stage).glob("*.json")]
        found = [self.record(file.parent.name, file.stem) for file in files]
        return sorted(
            (Candidate.from_record(file.stem, record) for file, record in zip(files, found)), key=lambda c: c.id
        )

    def record(self, stage: str, candidate_id: str) -> dict | None:
        """What a stage found for a candidate, None before it ran."""
        path = self._record_path(stage, candidate_id)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write_record(self, stage: str, candidate_id: str, record: dict) -> None:
        """Write a stage's record, which has its `inputs` among its fields."""
        path = self._record_path(stage, candidate_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(_as_text(record), encoding="utf-8")

    def is_done(self, stage: str, candidate_id: str, inputs: str) -> bool:
        """Whether the stage's record was made of these very inputs; of others, the stage runs again."""
        record = self.record(stage, candidate_id)
        return record is not None and record["inputs"] == inputs

    def _record_path(self, stage: str, candidate_id: str) -> Path:
        return self.root / stage / f"{candidate_id}.json"


def inputs_digest(*parts: Any) -> str:
    """SHA-256 of JSON-ready values, in which the order of an object's fields says nothing."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_text(values: dict) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
