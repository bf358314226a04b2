"""`relationbooth demo --showcase`: every RelationLoRA that comes with the miniature, unpicked, on one sheet."""

from collections.abc import Callable, Sequence

from PIL import Image

from .. import miniature

SEEDS = 2  # of each relation
SCALE = 0.5  # of a contact sheet's 512 pixels: the miniature draws 128


def draw_showcase(
    relations: Sequence[str], seed: int, weight: float = 1.0, on_step: Callable[[int, int], None] | None = None
) -> Image.Image:
    """A row for each relation: the characters of its first case in the miniature bench, boxes, and a picture a seed.

    Args:
        relations: RelationLoRAs of the miniature. seed: of each row's first picture; the next has the next.
        weight, on_step: of `draw_demo`.
    Raises:
        ValueError: the bench has no case of a relation.
    """
    import torch

    from ..evaluation.benches.miniature import miniature_bench
    from ..generation.settings import MINIATURE_DEFAULTS
    from ..pipeline import RelationBoothPipeline
    from ..relation_files import LORA_WEIGHT_NAME
    from ..sheets.contact import PAPER, contact_sheet

    bench = miniature_bench()
    first = {case.id.rpartition("-")[0]: case for case in reversed(bench.cases)}
    if missing := [name for name in relations if name not in first]:
        raise ValueError(
            f"the miniature bench has no case of {', '.join(missing)}. Write it anew: training.miniature.bench."
        )
    pipe = RelationBoothPipeline.from_pretrained(miniature.path())
    pipe.set_progress_bar_config(disable=True)
    defaults, rows = dict(MINIATURE_DEFAULTS), []
    steps = defaults.pop("steps")
    for number, relation in enumerate(relations):
        case = first[relation]
        photos = [Image.open(file).convert("RGB") for file in bench.image_prompts(case)]
        pipe.load_lora_weights(
            miniature.path() / "relation_loras" / relation, weight_name=LORA_WEIGHT_NAME, adapter_name=relation
        )
        pipe.set_adapters(relation, weight)
        encoded, pictures = pipe.encode_image_prompts(photos, list(case.phrases)), {}
        for index in range(SEEDS):
            done = steps * (SEEDS * number + index)

            def after_step(_, step, timestep, tensors, done=done):
                if on_step is not None:
                    on_step(done + step + 1, steps * SEEDS * len(relations))
                return tensors

            pictures[f"seed {seed + index}"] = pipe(
                case.prompt,
                image_prompts=encoded,
                boxes=[list(box) for box in case.boxes],
                num_inference_steps=steps,
                **defaults,
                generator=torch.Generator().manual_seed(seed + index),
                callback_on_step_end=after_step,
            ).images[0]
        pipe.unload_lora_weights()
        rows.append(contact_sheet(photos, case.phrases, case.boxes, pictures, case.prompt))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet.resize((round(SCALE * sheet.width), round(SCALE * sheet.height)), Image.Resampling.LANCZOS)
