"""Case of the resampler: phrase and box make queries, which read tokens and themselves."""

import math

import numpy as np

from .arithmetic import Array, Draws, gelu, layer_norm, mixed, probabilities, wide

SIZES = {
    "dim": 12, "depth": 2, "dim_head": 5, "heads": 2, "num_queries": 3, "embedding_dim": 7, "output_dim": 10,
    "ff_mult": 2, "phrase_embeddings_dim": 6, "fourier_freqs": 3,
}  # fmt: skip
LAYOUTS = [
    {"tag": "b2r2", "refs": 2, "drop_grounding_tokens": [[0, 0], [1, 0], [0, 1]]},
    {"tag": "b1r3", "refs": 3, "drop_grounding_tokens": [[0], [1]]},
]


def weights(draws: Draws) -> dict[str, Array]:
    dim, inner = SIZES["dim"], SIZES["heads"] * SIZES["dim_head"]
    grounding = SIZES["phrase_embeddings_dim"] + 8 * SIZES["fourier_freqs"]
    found = {
        "proj_in.weight": draws.linear(dim, SIZES["embedding_dim"]),
        "proj_in.bias": draws.normal(dim, std=0.1),
        "grounding_latents": draws.normal(1, SIZES["num_queries"], dim),
        "latent_proj.0.weight": draws.linear(2 * grounding, grounding),
        "latent_proj.0.bias": draws.normal(2 * grounding, std=0.1),
        "latent_proj.2.weight": draws.linear(SIZES["num_queries"] * dim, 2 * grounding),
        "latent_proj.2.bias": draws.normal(SIZES["num_queries"] * dim, std=0.1),
        "proj_out.weight": draws.linear(SIZES["output_dim"], dim),
        "proj_out.bias": draws.normal(SIZES["output_dim"], std=0.1),
    }
    norms = {"latent_norm": dim, "attention_norm": dim, "norm_out": SIZES["output_dim"]}
    for i in range(SIZES["depth"]):
        found[f"layers.{i}.0.to_q.weight"] = draws.linear(inner, dim)
        found[f"layers.{i}.0.to_kv.weight"] = draws.linear(2 * inner, dim)
        found[f"layers.{i}.0.to_out.weight"] = draws.linear(dim, inner)
        found[f"layers.{i}.1.1.weight"] = draws.linear(SIZES["ff_mult"] * dim, dim)
        found[f"layers.{i}.1.3.weight"] = draws.linear(dim, SIZES["ff_mult"] * dim)
        norms |= {f"layers.{i}.0.norm1": dim, f"layers.{i}.0.norm2": dim, f"layers.{i}.1.0": dim}
    for name, width in norms.items():
        found[f"{name}.weight"], found[f"{name}.bias"] = draws.norm(width)
    return found


def fourier(box: Array) -> list[float]:
    """Frequency outermost, then sine before cosine, then the four edges."""
    found = []
    for i in range(SIZES["fourier_freqs"]):
        for function in (math.sin, math.cos):
            found += [function(100 ** (i / SIZES["fourier_freqs"]) * float(edge)) for edge in box]
    return found


def tokens(w: dict[str, Array], features: Array, phrase: Array, box: Array, is_dropped: bool) -> Array:
    """Object tokens (L, C) of one reference: features (T, E), phrase (·,), box (4,)."""

    def norm(name, x):
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    x = features @ w["proj_in.weight"].T + w["proj_in.bias"]
    if is_dropped:
        queries = w["grounding_latents"][0]
    else:
        hidden = gelu(np.concatenate([phrase, fourier(box)]) @ w["latent_proj.0.weight"].T + w["latent_proj.0.bias"])
        flat = hidden @ w["latent_proj.2.weight"].T + w["latent_proj.2.bias"]
        queries = norm("latent_norm", flat.reshape(SIZES["num_queries"], -1))
    for i in range(SIZES["depth"]):
        name = f"layers.{i}"
        own = norm(f"{name}.0.norm2", queries)
        read = np.concatenate([norm(f"{name}.0.norm1", x), own])
        key, value = np.split(read @ w[f"{name}.0.to_kv.weight"].T, 2, axis=1)
        weighed = probabilities(own @ w[f"{name}.0.to_q.weight"].T, key, SIZES["heads"])
        queries = queries + mixed(weighed, value) @ w[f"{name}.0.to_out.weight"].T
        hidden = gelu(norm(f"{name}.1.0", queries) @ w[f"{name}.1.1.weight"].T)
        queries = queries + hidden @ w[f"{name}.1.3.weight"].T
    return norm("norm_out", norm("attention_norm", queries) @ w["proj_out.weight"].T + w["proj_out.bias"])


def case() -> tuple[dict, dict[str, Array], dict[str, Array]]:
    """(config, weights, data)."""
    draws = Draws(11)
    state = weights(draws)
    w, data = wide(state), {}
    for layout in LAYOUTS:
        tag, refs = layout["tag"], layout["refs"]
        rows = refs * len(layout["drop_grounding_tokens"][0])
        given = {
            "image_features": draws.normal(rows, 5, SIZES["embedding_dim"]),
            "local_tokens": draws.normal(rows, 4, SIZES["embedding_dim"]),
            "phrase_embeds": draws.normal(rows, SIZES["phrase_embeddings_dim"]),
            "boxes": np.sort(draws.rng.random((rows, 2, 2)), axis=1).reshape(rows, 4).astype(np.float32),
        }
        data |= {f"in.{tag}.{name}": array for name, array in given.items()}
        image, local, phrases, boxes = wide(given).values()

        def made(features, boxes, drops, phrases=phrases, refs=refs):
            rows = zip(features, phrases, boxes, range(len(boxes)))
            return np.array([tokens(w, f, p, b, bool(drops[i // refs])) for f, p, b, i in rows])

        both = np.concatenate([image, local], axis=1)
        data[f"out.{tag}.fourier"] = np.array([fourier(box) for box in boxes])
        data[f"out.{tag}.fourier_zero_boxes"] = np.array([fourier(box * 0) for box in boxes])
        data[f"out.{tag}.zero_boxes.tokens"] = made(image, boxes * 0, [0] * rows)
        for drops in layout["drop_grounding_tokens"]:
            name = f"out.{tag}.drop{''.join(map(str, drops))}.tokens"
            data[name] = made(image, boxes, drops)
            data[f"{name}_with_local"] = made(both, boxes, drops)
    config = {"kind": "resampler", "resampler": SIZES, "layouts": LAYOUTS}
    return config, {f"image_proj.{name}": array for name, array in state.items()}, data
