"""The tables of local tokens (RelationBooth, Tables 4, 5, 7 and 8): adapters trained alike but for their local tokens.

All that is finished is kept: a killed run goes on where it stopped.
"""

import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from relationbooth_pipeline import RelationBoothPipeline

from ...common.made_for import made_for
from ..judges.scenes import overlap
from ..measure.cases import RENDERS, compared, draw_cases, draw_pictures, judge, renders, stored
from ..stages.adapter import train_adapter
from ..stages.image_prompts import LocalTokens
from ..stages.training_loop import TrainingPlan

DEFAULT = "distilled, 4×4, concatenated"
EXCHANGED = f"{DEFAULT}, the two characters' local tokens exchanged"  # when it is drawn with: who reads them?
HEAVY_OVERLAP = 0.2  # intersection over union of the two boxes: hugging and wrestling lie above, holding hands below
PLAN = TrainingPlan(max_train_steps=600, ema_decay=0.995, constant_share=0.5)
BATCH, SCENES = 32, 4_000
TIMED_CALLS = 9
FINISHED = "finished"  # an empty file beside a trained adapter


def adapter_variants(towers):
    """{row: LocalTokens}, in the paper's order.

    Args:
        towers: {"distilled", "small": folder}, of `prepare_towers`.
    """
    distilled = str(towers["distilled"])
    return {
        "no local tokens": LocalTokens(grid=0),
        "undistilled, 4×4, concatenated": LocalTokens(),
        DEFAULT: LocalTokens(distilled),
        "smaller tower, distilled, 4×4, concatenated": LocalTokens(str(towers["small"])),
        "distilled, 2×2, concatenated": LocalTokens(distilled, grid=2),
        "distilled, 8×8, concatenated": LocalTokens(distilled, grid=8),
        "distilled, 4×4, added": LocalTokens(distilled, injection="add"),
        "distilled, 4×4, linear projection": LocalTokens(distilled, injection="linear"),
    }


def encoding_cost(pipe, prompts, phrases):
    """What local tokens cost.

    Returns:
        {"milliseconds": median time of `encode_image_prompts`, "parameters": of the local encoder, "local tokens": of
        an object}; the last two are 0 without local tokens.
    """
    times = []
    for _ in range(TIMED_CALLS):
        start = time.perf_counter()
        encoded = pipe.encode_image_prompts(prompts, phrases)
        times.append(time.perf_counter() - start)
    local = pipe.local_image_encoder
    return {
        "milliseconds": round(1000 * statistics.median(times), 1),
        "parameters": 0 if local is None else sum(p.numel() for p in local.parameters()),
        "local tokens": 0 if encoded.local_tokens is None else encoded.local_tokens.shape[-2],
    }


def with_local_tokens_exchanged(encoded):
    """`EncodedImagePrompts` of pairs in which each character has the other's local tokens, and its own image tokens."""
    return replace(encoded, local_tokens=encoded.local_tokens.flip(1))


def overlaps_heavily(case):
    """Whether the boxes of a case's pair share more than `HEAVY_OVERLAP`."""
    return overlap(*torch.tensor(np.array(case["boxes"]))).item() > HEAVY_OVERLAP


def grouped(judged, cases, of_renders):
    """{pose: verdicts} with "all" and, where there are such cases, "overlapping", "apart" and "in sight" beside them.

    "in sight": in whose render the judge reads every fine attribute; elsewhere arms hide them, or the judge errs.

    Args:
        judged: {pose: verdicts}. cases: {pose: cases}. of_renders: {pose: verdicts} of the cases' renders.
    """
    pairs = [(case, verdict) for pose, found in judged.items() for case, verdict in zip(cases[pose], found)]
    groups = {"overlapping": [v for c, v in pairs if overlaps_heavily(c)]}
    groups["apart"] = [v for c, v in pairs if not overlaps_heavily(c)]
    seen = [verdict.get("fine", 0.0) for pose in judged for verdict in of_renders[pose]]
    groups["in sight"] = [v for (_, v), is_read in zip(pairs, seen, strict=True) if is_read]
    return {**judged, **{name: found for name, found in groups.items() if found}, "all": [v for _, v in pairs]}


def adapter_table(
    model, judges, output_dir, variants, poses, count, autocast, case_seed=0, plan=PLAN, batch=BATCH, scenes=SCENES
):
    """Train an adapter for each variant, draw and judge the same cases for all, and compare them with the default.

    Args:
        model: pipeline folder with a `relation_adapter` in it, whose image encoder is used; its adapter is not.
        judges: `MiniatureJudges`. output_dir: for this model and plan alone. variants: {row: LocalTokens}.
        poses: names. count, case_seed: cases of each pose, and what they depend on.
        autocast, plan, batch, scenes: of `train_adapter`.
    Returns:
        `compared`, with the groups of `grouped` beside the poses, a row `RENDERS`, a row `EXCHANGED` where `DEFAULT` is
        among the variants, and {"cost": {row: `encoding_cost`}}.
    Raises:
        ValueError: the adapters in `output_dir` were trained by another plan, or for another base.
    """
    model, output_dir = Path(model), Path(output_dir)
    plan = replace(plan, sample_steps=plan.max_train_steps)  # an adapter is saved when it is finished
    made_for(output_dir, steps_batch_and_scenes=[plan.max_train_steps, batch, scenes])
    image_encoder = model / "relation_adapter" / "image_encoder"
    pipe = RelationBoothPipeline.from_pretrained(model).to(plan.device)
    pipe.set_progress_bar_config(disable=True)
    cases = {pose: draw_cases(pose, count, case_seed) for pose in poses}
    of_renders = {
        pose: stored(
            output_dir / "renders" / f"verdicts_{pose}_{case_seed}_{count}.json",
            lambda pose=pose: judge(judges, cases[pose], renders(cases[pose])),
        )
        for pose in poses
    }
    judged, cost = {RENDERS: grouped(of_renders, cases, of_renders)}, {}

    def verdicts(folder, row, change=None):
        """Of all poses; the names of files tell what was changed."""
        suffix = "" if change is None else "_exchanged"
        found = {}
        for pose in poses:

            def compute(pose=pose):
                return judge(judges, cases[pose], draw_pictures(pipe, cases[pose], "species", True, change=change))

            found[pose] = stored(folder / f"verdicts_{pose}_{case_seed}_{count}{suffix}.json", compute)
        judged[row] = grouped(found, cases, of_renders)

    for row, local in variants.items():
        folder = output_dir / local.name
        if not (folder / FINISHED).exists():
            train_adapter(
                model, image_encoder, folder, plan, autocast, local, scenes, batch, cache_dir=output_dir / "encoded"
            )
            (folder / FINISHED).touch()
        pipe.load_relation_adapter(folder / "model")
        verdicts(folder, row)
        if row == DEFAULT:
            verdicts(folder, EXCHANGED, with_local_tokens_exchanged)
        first = cases[poses[-1]][0]
        cost[row] = encoding_cost(pipe, first["image_prompts"], list(first["species"].phrases))
        pipe.unload_relation_adapter()
    return {**compared(judged, DEFAULT), "cost": cost}


def cost_text(cost):
    """What encoding image prompts costs in each row, as Markdown."""
    rows = [
        f"| {row} | " + " | ".join(f"{value:g}" for value in values.values()) + " |" for row, values in cost.items()
    ]
    names = next(iter(cost.values()))
    return "\n".join(["| row | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|", *rows]) + "\n"
