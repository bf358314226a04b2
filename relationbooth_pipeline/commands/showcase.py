"""`relationbooth demo --showcase`: every RelationLoRA that comes with the miniature, unpicked, on one sheet."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from .. import miniature

if TYPE_CHECKING:
    from ..evaluation.cases import Case, CaseFile

SEEDS = 2  # of each relation
SCALE = 0.5  # of a contact sheet's 512 pixels: the miniature draws 128


def draw_counted(
    pipe: Any, prompt: str, number: int, count: int, on_step: Callable[[int, int], None] | None, seed: int, **given: Any
) -> Image.Image:
    """Picture `number` (from 0) of `count`, with the miniature's settings; `on_step` is told the steps of all of them.

    Args:
        given: image prompts and boxes, as the pipeline takes them.
    """
    import torch

    from ..generation.settings import MINIATURE_DEFAULTS

    settings = dict(MINIATURE_DEFAULTS)
    steps = settings.pop("steps")

    def after_step(_: Any, step: int, timestep: Any, tensors: dict) -> dict:
        if on_step is not None:
            on_step(steps * number + step + 1, steps * count)
        return tensors

    return pipe(
        prompt,
        num_inference_steps=steps,
        **settings,
        **given,
        generator=torch.Generator().manual_seed(seed),
        callback_on_step_end=after_step,
    ).images[0]


def first_cases(relations: Sequence[str]) -> "tuple[CaseFile, list[Case]]":
    """The miniature bench, and its first case of each relation.

    Raises:
        ValueError: it has no case of a relation.
    """
    from ..evaluation.benches.miniature import miniature_bench

    bench = miniature_bench()
    first = {case.id.rpartition("-")[0]: case for case in reversed(bench.cases)}
    if missing := [name for name in relations if name not in first]:
        raise ValueError(
            f"the miniature bench has no case of {', '.join(missing)}. Write it anew: training.miniature.bench."
        )
    return bench, [first[name] for name in relations]


def draw_showcase(
    relations: Sequence[str], seed: int, weight: float | None = None, on_step: Callable[[int, int], None] | None = None
) -> Image.Image:
    """A row for each relation: the characters of its first case in the miniature bench, boxes, and a picture a seed.

    Args:
        relations: RelationLoRAs of the miniature. seed: of each row's first picture; the next has the next.
        weight, on_step: of `draw_demo`.
    Raises:
        ValueError: of `first_cases`.
    """
    from ..pipeline import RelationBoothPipeline
    from ..relation_files import LORA_WEIGHT_NAME
    from ..relation_regions import read_relation_metadata
    from ..sheets.contact import contact_sheet, stacked

    bench, cases = first_cases(relations)
    pipe = RelationBoothPipeline.from_pretrained(miniature.path())
    pipe.set_progress_bar_config(disable=True)
    rows = []
    for number, (relation, case) in enumerate(zip(relations, cases)):
        photos = [Image.open(file).convert("RGB") for file in bench.image_prompts(case)]
        file = miniature.path() / "relation_loras" / relation / LORA_WEIGHT_NAME
        pipe.load_lora_weights(file, adapter_name=relation)
        pipe.set_adapters(relation, read_relation_metadata(file).scale if weight is None else weight)
        encoded, pictures = pipe.encode_image_prompts(photos, list(case.phrases)), {}
        for index in range(SEEDS):
            pictures[f"seed {seed + index}"] = draw_counted(
                pipe,
                case.prompt,
                SEEDS * number + index,
                SEEDS * len(relations),
                on_step,
                seed + index,
                image_prompts=encoded,
                boxes=[list(box) for box in case.boxes],
            )
        pipe.unload_lora_weights()
        rows.append(contact_sheet(photos, case.phrases, case.boxes, pictures, case.prompt))
    sheet = stacked(rows)
    return sheet.resize((round(SCALE * sheet.width), round(SCALE * sheet.height)), Image.Resampling.LANCZOS)
