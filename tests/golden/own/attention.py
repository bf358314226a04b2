"""Case of one cross-attention layer: boxes, background tokens that never act, strengths, automatic layout."""

import math

import numpy as np

from .arithmetic import Array, Draws, mixed, probabilities, wide

SIZES = {
    "query_dim": 9, "heads": 3, "dim_head": 4, "cross_attention_dim": 7, "num_tokens": 2, "num_dummy_tokens": 2,
    "text_tokens": 6,
}  # fmt: skip
LEFT, RIGHT, SMALL = [0.0, 0.25, 0.55, 0.85], [0.4, 0.1, 0.95, 0.9], [0.3, 0.3, 0.4, 0.35]
NOTHING, WHOLE = [0.0] * 4, [0.0, 0.0, 1.0, 1.0]
RUNS = [{"name": "scale060", "scale": 0.6}, {"name": "scale100", "scale": 1.0}]
TWO = [*RUNS, {"name": "subject_scales", "scale": 0.6, "subject_scales": [0.5, 0.9]}]
CASES = [
    {"name": "one.g4", "grid": 4, "boxes": [[SMALL]], "runs": RUNS},
    {"name": "two.g5", "grid": 5, "boxes": [[LEFT, RIGHT]], "runs": TWO},
    {"name": "zeros.g4", "grid": 4, "boxes": [[NOTHING, LEFT]], "runs": TWO},
    {"name": "edge.g5", "grid": 5, "boxes": [[SMALL, WHOLE]], "runs": TWO},
    {"name": "cfg.g4", "grid": 4, "boxes": [[NOTHING, NOTHING], [LEFT, RIGHT]], "runs": RUNS},
]
AUTO = {"grid": 4, "boxes": [LEFT, RIGHT], "phrase_idxes": [[1, 3], [4, 5]], "scale": 0.6, "mask_threshold": 0.5,
        "start_step": 2, "calls": 4}  # fmt: skip
FORBIDDEN = -10_000.0  # added to scores


def weights(draws: Draws) -> dict[str, Array]:
    inner, context, query = SIZES["heads"] * SIZES["dim_head"], SIZES["cross_attention_dim"], SIZES["query_dim"]
    return {
        "attn.to_q.weight": draws.linear(inner, query),
        "attn.to_k.weight": draws.linear(inner, context),
        "attn.to_v.weight": draws.linear(inner, context),
        "attn.to_out.0.weight": draws.linear(query, inner),
        "attn.to_out.0.bias": draws.normal(query, std=0.1),
        "ms_adapter.1.to_k_ip.weight": draws.linear(inner, context),
        "ms_adapter.1.to_v_ip.weight": draws.linear(inner, context),
        "dummy_image_tokens": draws.normal(1, SIZES["num_dummy_tokens"], context),
    }


def cells(box: list[float], side: int) -> Array:
    """Cells of a side × side grid that a box touches, row by row."""
    x0, y0, x1, y1 = (edge * side for edge in box)
    inside = np.zeros((side, side), dtype=bool)
    for row in range(side):
        for column in range(side):
            across, down = math.floor(x0) <= column < math.ceil(x1), math.floor(y0) <= row < math.ceil(y1)
            inside[row, column] = across and down
    return inside.reshape(-1)


def layer(w: dict[str, Array], hidden: Array, encoder: Array, regions: list[Array], scales: list[float]) -> dict:
    """One sample: hidden (P, ·), encoder (6 + 2 + 2n, ·), bool (P,) and a strength of each object."""
    text, image = encoder[: SIZES["text_tokens"]], encoder[SIZES["text_tokens"] :]
    background = ~np.any(regions, axis=0)
    columns = [background] * SIZES["num_dummy_tokens"] + [r for r in regions for _ in range(SIZES["num_tokens"])]
    allowed = np.stack(columns, axis=1)
    query = hidden @ w["attn.to_q.weight"].T
    seen = probabilities(query, text @ w["attn.to_k.weight"].T, SIZES["heads"])
    said = mixed(seen, text @ w["attn.to_v.weight"].T)
    bias = np.where(allowed, 0.0, FORBIDDEN)
    looks = probabilities(query, image @ w["ms_adapter.1.to_k_ip.weight"].T, SIZES["heads"], bias)
    strength = np.repeat([1.0, *scales], [SIZES["num_dummy_tokens"], *[SIZES["num_tokens"]] * len(scales)])
    looks = [look * strength * ~background[:, None] for look in looks]
    shown = mixed(looks, image @ w["ms_adapter.1.to_v_ip.weight"].T)

    def out(x):
        return x @ w["attn.to_out.0.weight"].T + w["attn.to_out.0.bias"]

    return {
        "allowed": allowed.astype(np.uint8), "background": background.astype(np.uint8), "text": np.mean(seen, axis=0),
        "output": out(said + shown), "text_only": out(said),
    }  # fmt: skip


def inputs(draws: Draws, w: dict[str, Array], batch: int, side: int, objects: int) -> tuple[Array, Array]:
    hidden = draws.normal(batch, side * side, SIZES["query_dim"], std=1.5)
    text = draws.normal(batch, SIZES["text_tokens"], SIZES["cross_attention_dim"])
    dummy = np.repeat(w["dummy_image_tokens"], batch, axis=0).astype(np.float32)
    image = draws.normal(batch, objects * SIZES["num_tokens"], SIZES["cross_attention_dim"])
    return hidden, np.concatenate([text, dummy, image], axis=1)


def automatic(draws: Draws, w: dict[str, Array], data: dict[str, Array]) -> None:
    side, spans, objects = AUTO["grid"], AUTO["phrase_idxes"], len(AUTO["boxes"])
    _, encoder = inputs(draws, w, 1, side, objects)
    data |= {"in.auto.encoder_hidden_states": encoder, "in.auto.boxes": np.array([AUTO["boxes"]], dtype=np.float32)}
    data["in.auto.phrase_idxes"] = np.array([spans], dtype=np.int32)
    maps = []
    for step in range(AUTO["calls"]):
        hidden = draws.normal(1, side * side, SIZES["query_dim"], std=1.5)
        wide_hidden, wide_encoder = hidden[0].astype(np.float64), encoder[0].astype(np.float64)
        boxes, scales = [cells(box, side) for box in AUTO["boxes"]], [AUTO["scale"]] * objects
        text = layer(w, wide_hidden, wide_encoder, boxes, scales)["text"]
        maps.append([text[:, start:end].mean(axis=1) for start, end in spans])
        regions = boxes
        if len(maps) >= AUTO["start_step"]:
            means = np.mean(maps, axis=0)
            shares = [(m - m.min()) / (m.max() - m.min() + 1e-5) for m in means]
            assert min(np.abs(share - AUTO["mask_threshold"]).min() for share in shares) > 1e-3  # no cell in doubt
            regions = [share > AUTO["mask_threshold"] for share in shares]
        found = layer(w, wide_hidden, wide_encoder, regions, scales)
        data[f"in.auto.hidden_states.{step}"] = hidden
        data[f"out.auto.{step}"] = found["output"][None]
        data[f"out.auto.text_map.{step}"] = np.reshape(maps[-1], (1, objects, side, side))
        if len(maps) >= AUTO["start_step"]:
            data[f"out.auto.image_allowed.{step}"] = found["allowed"][None]
            data[f"out.auto.background.{step}"] = found["background"][None]


def case() -> tuple[dict, dict[str, Array], dict[str, Array]]:
    """(config, weights, data)."""
    draws = Draws(21)
    state = weights(draws)
    w, data, items = wide(state), {}, []
    for item in CASES:
        name, side, boxes = item["name"], item["grid"], item["boxes"]
        batch, objects = len(boxes), len(boxes[0])
        items.append({**item, "n_subjects": objects, "batch": batch})
        hidden, encoder = inputs(draws, w, batch, side, objects)
        if batch == 2:
            encoder[0, SIZES["text_tokens"] :] = 0  # the unconditional row
        data |= {f"in.{name}.hidden_states": hidden, f"in.{name}.encoder_hidden_states": encoder}
        data[f"in.{name}.boxes"] = np.array(boxes, dtype=np.float32)
        for run in item["runs"]:
            scales = run.get("subject_scales") or [run["scale"]] * objects
            found = []
            for one_hidden, one_encoder, row in zip(*(x.astype(np.float64) for x in (hidden, encoder)), boxes):
                found.append(layer(w, one_hidden, one_encoder, [cells(box, side) for box in row], scales))
            data[f"out.{name}.{run['name']}"] = np.array([one["output"] for one in found])
        for ours, theirs in (("image_allowed", "allowed"), ("background", "background"), ("text_only", "text_only")):
            data[f"out.{name}.{ours}"] = np.array([one[theirs] for one in found])
    automatic(draws, w, data)
    return {"kind": "attention", "attention": SIZES, "cases": items, "auto": AUTO}, state, data
