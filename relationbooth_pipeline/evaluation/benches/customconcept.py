"""CustomConcept101: single concepts and their pairs (M-CustomConcept101), as its repository has them."""

from pathlib import Path

from ..cases import Case
from .dreambench import read_json
from .folders import ImageFolder, fill_slots, read_lines, slug


def custom_concept(path: str | Path, images: str | Path | None = None) -> list[Case]:
    """`dataset.json`: 101 concepts × 20 prompts, or `dataset_multiconcept.json`: 101 pairs × 12 prompts.

    In pairs the slots are numbered and may stand in either order; prompts that lack a slot lose that object, and are
    left out: there is nothing to compare.

    Args:
        path: either list; prompts are found from its folder.
        images: folder `benchmark_dataset`; None: beside the list.
    Raises:
        ValueError: an entry, a prompt file or a concept's photos are missing.
    """
    path = Path(path)
    folder = ImageFolder(images or path.parent / "benchmark_dataset")
    cases: list[Case] = []
    for number, entry in enumerate(read_json(path, list)):
        try:
            concepts = [entry] if isinstance(entry, dict) else entry[:2]
            prompts = entry["prompt_filename"] if isinstance(entry, dict) else entry[2]["prompt_filename_compose"]
            nouns = [concept["class_prompt"] for concept in concepts]
            names = [Path(concept["instance_data_dir"]).name for concept in concepts]
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(
                f"`{path}`: entry {number} is no concept or pair of CustomConcept101 ({error!r})."
            ) from error
        photos = [tuple(folder.photos(name)) for name in names]
        for line, template in enumerate(read_lines(path.parent / prompts)):
            prompt, order = fill_slots(template, nouns)
            if len(order) < len(concepts):
                continue
            cases.append(
                Case(
                    id=f"{number:03d}-" + "-".join(slug(name) for name in names) + f"-{line:02d}",
                    prompt=prompt,
                    phrases=tuple(nouns[i] for i in order),
                    references=tuple(photos[i] for i in order),
                    generate_with=(0,) * len(order),
                    bench="customconcept101" if len(order) == 1 else "m-customconcept101",
                    objects=tuple(names[i] for i in order),
                )
            )
    return cases
