"""Systems without a model of their own: pasted references, another case's pictures, folders, and anybody's function."""

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from ...digests import file_digest
from ...relation_images import open_image
from ..cases import Case, CaseFile
from .pictures import draw_cases, picture_path
from .system import OneByOne, Order, System

_NUMBERED = re.compile(r"(?P<case>.+?)(?:[_/](?P<number>\d+))?")


class Collage(OneByOne):
    """References pasted side by side: the ceiling of identity without any relation; exposes metrics that prefer it."""

    def __init__(self, name: str, size: int):
        super().__init__(name)
        self.size = size

    def settings(self, case: Case) -> dict:
        return {"method": "collage", "size": self.size}

    def draw_one(self, order: Order) -> list[Image.Image]:
        picture, photos = Image.new("RGB", (self.size, self.size), "white"), order.photos
        boxes = order.case.boxes or [(i / len(photos), 0.1, (i + 1) / len(photos), 0.9) for i in range(len(photos))]
        for photo, box in zip(photos, boxes):
            left, top, right, bottom = (round(v * self.size) for v in box)
            size = (max(1, right - left), max(1, bottom - top))
            picture.paste(photo.resize(size, Image.Resampling.LANCZOS), (left, top))
        return [picture] * len(order.seeds)


class Shuffled(OneByOne):
    """Another system's pictures of another case with as many objects: a floor that any metric must tell apart."""

    derived = True

    def __init__(self, name: str, base: System):
        super().__init__(name)
        self.base = base

    def prepare(self, cases: CaseFile, root: Path) -> None:
        self.base.prepare(cases, root)
        self.cases, self.root, self.other = cases, root, {}
        groups = self.base.groups(cases.cases)
        self.groups_of_base = [[cases.cases[number] for number in group] for group in groups]
        for case in cases.cases:
            # those at work first: their pictures are drawn anyway
            group = _with_as_many(case, cases.cases)
            group = group if len(group) > 1 else _with_as_many(case, cases.all_cases)
            if len(group) < 2:
                raise ValueError(
                    f"the system {self.name!r} needs two cases with {len(case.phrases)} object(s), got one."
                )
            # half way around: neighbours in a case file often share their relation
            place = next(i for i, other in enumerate(group) if other.id == case.id)
            self.other[case.id] = group[(place + len(group) // 2) % len(group)]

    def settings(self, case: Case) -> dict:
        other = self.other[case.id]
        return {"method": "shuffled", "pictures_of": other.id, "base": self.base.settings(other)}

    def load(self) -> None:
        self.base.load()

    def draw_one(self, order: Order) -> list[Image.Image]:
        """The other case's pictures, which are drawn now, with all of their call, if its turn has not come yet."""
        other, count = self.other[order.case.id], len(order.seeds)
        group = next((group for group in self.groups_of_base if other in group), [other])
        draw_cases(self.root, self.base, self.cases, group, count)
        return [open_image(picture_path(self.root, self.base.name, other.id, number)) for number in range(count)]


def _with_as_many(case: Case, cases: Sequence[Case]) -> list[Case]:
    """Cases with as many objects, in their order."""
    return [other for other in cases if len(other.phrases) == len(case.phrases)]


class PictureFolder(OneByOne):
    """Pictures that were made elsewhere: `<case id>/<number>.png`, `<case id>_<number>.png`, or `<case id>.png`.

    Raises (in `prepare`):
        ValueError: pictures are missing, extra or oddly named; all of them are told.
    """

    SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

    def __init__(self, name: str, folder: str | Path, count: int):
        super().__init__(name)
        self.folder, self.count = Path(folder), count

    def prepare(self, cases: CaseFile, root: Path) -> None:
        if not self.folder.is_dir():
            raise ValueError(f"the system {self.name!r}: no folder `{self.folder}`.")
        known = {case.id for case in cases.all_cases}
        self.files: dict[tuple[str, int], Path] = {}
        odd = []
        for file in sorted(self.folder.rglob("*")):
            if file.is_dir() or file.name.startswith("."):
                continue
            stem = file.relative_to(self.folder).with_suffix("").as_posix()
            match = _NUMBERED.fullmatch(stem)
            key = (stem, 0) if stem in known else (match["case"], int(match["number"] or 0))
            if file.suffix.lower() not in self.SUFFIXES or key[0] not in known or key[1] >= self.count:
                odd.append(file.name if file.parent == self.folder else stem)
            elif key in self.files:
                odd.append(f"{file.name} (a second picture {key[1]} of {key[0]})")
            else:
                self.files[key] = file
        missing = [f"{c.id}/{n}" for c in cases.cases for n in range(self.count) if (c.id, n) not in self.files]
        for what, found in (("missing", missing), ("extra or oddly named", odd)):
            if found:
                more = f" and {len(found) - 10} more" if len(found) > 10 else ""
                raise ValueError(
                    f"the pictures of `{self.folder}`: {len(found)} {what}: {', '.join(found[:10])}{more}. Each case "
                    f"needs {self.count} picture(s), named `<case id>/<number>.png`, and nothing else."
                )
        for file in self.files.values():
            open_image(file)

    def settings(self, case: Case) -> dict:
        files = [self.files[case.id, number] for number in range(self.count)]
        return {"method": "folder", "files": [file_digest(file)[:32] for file in files]}

    def draw_one(self, order: Order) -> list[Image.Image]:
        return [open_image(self.files[order.case.id, number]) for number in range(len(order.seeds))]


class PythonFunction(OneByOne):
    """Anybody's function `module:function`, called as `function(case, photos, seeds)`; gives a PIL image a seed.

    The module's source is part of the settings: pictures of changed code are not mixed with older ones.
    """

    def __init__(self, name: str, target: str):
        super().__init__(name)
        self.target = target
        module, _, function = target.partition(":")
        try:
            self.function: Callable = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"`callable:` needs `module:function` that can be imported, got {target!r} ({error})."
            ) from error
        if not callable(self.function):
            raise ValueError(f"`callable:{target}` names a {type(self.function).__name__}, not a function.")
        source = inspect.getsourcefile(importlib.import_module(module))
        self.code = file_digest(source)[:16] if source else None

    def settings(self, case: Case) -> dict:
        return {"method": "callable", "target": self.target, "code": self.code}

    def draw_one(self, order: Order) -> list[Image.Image]:
        return self.function(order.case, list(order.photos), list(order.seeds))
