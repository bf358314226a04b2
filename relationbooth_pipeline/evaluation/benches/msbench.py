"""MS-Bench: MS-Diffusion's combinations of objects, animals, scenes and clothes, with its boxes."""

import ast
import itertools
from pathlib import Path

from ..cases import Case
from .folders import SUFFIXES, fill_slots, slug

NAMES = ("data_class_dict", "subject_combination_prompts", "subject_combination_boxes")


def ms_bench(images: str | Path, prompts: str | Path) -> list[Case]:
    """Every combination of photos of the listed types × that type's prompts, one photo an object.

    Args:
        images: folder `msbench`. prompts: `msbench.py` of the repository; read as data, never run.
    Raises:
        ValueError: the lists or a type's folder are missing.
    """
    images, lists = Path(images), _literals(Path(prompts))
    nouns, templates, boxes = (lists[name] for name in NAMES)
    if not images.is_dir():
        raise ValueError(f"no folder `{images}`. Give the folder `msbench` of MS-Diffusion.")
    cases = []
    for combination, sentences in templates.items():
        kinds = combination.split("_")
        found = {kind: _photos(images / kind) for kind in set(kinds)}
        for photos in _choices(kinds, found):
            unknown = [photo.stem for photo in photos if photo.stem not in nouns]
            if unknown:
                raise ValueError(
                    f"`{prompts}` has no class for {', '.join(unknown)}. Use the list of the same version."
                )
            for number, sentence in enumerate(sentences):
                prompt, order = fill_slots(sentence, [nouns[photo.stem] for photo in photos])
                cases.append(
                    Case(
                        id=f"{combination}-" + "-".join(slug(photo.stem) for photo in photos) + f"-{number}",
                        prompt=prompt,
                        phrases=tuple(nouns[photos[i].stem] for i in order),
                        references=tuple((str(photos[i].absolute()),) for i in order),
                        generate_with=(0,) * len(order),
                        bench="msbench",
                        objects=tuple(photos[i].stem for i in order),
                        boxes=tuple(tuple(float(v) for v in boxes[combination][i]) for i in order),
                    )
                )
    return cases


def _choices(kinds: list[str], found: dict[str, list[Path]]):
    """One photo of each kind; photos of one kind without order and never twice."""
    groups = [(kind, len(list(group))) for kind, group in itertools.groupby(kinds)]
    for parts in itertools.product(*(itertools.combinations(found[kind], count) for kind, count in groups)):
        yield [photo for part in parts for photo in part]


def _photos(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise ValueError(f"`{folder}` holds no photo. Give the folder `msbench` of MS-Diffusion.")
    return found


def _literals(path: Path) -> dict:
    """Names of `NAMES` of a Python file: literals, and names of literals within a dict."""
    if not path.is_file():
        raise ValueError(f"no file `{path}`. Give msdiffusion/dataset/prompts/msbench.py.")
    values: dict = {}

    def value(node: ast.AST):
        if isinstance(node, ast.Name) and node.id in values:
            return values[node.id]
        if isinstance(node, ast.Dict):
            return {value(key): value(item) for key, item in zip(node.keys, node.values)}
        return ast.literal_eval(node)

    try:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values[node.targets[0].id] = value(node.value)
        return {name: values[name] for name in NAMES}
    except (SyntaxError, ValueError, KeyError) as error:
        raise ValueError(f"`{path}` does not hold MS-Bench's lists ({', '.join(NAMES)}): {error!r}.") from error
