"""Case of local tokens: a vision tower whose last block keeps its value path only, its map pooled by boxes."""

import math

import numpy as np

from .arithmetic import Array, Draws, gelu, layer_norm, mixed, probabilities, wide

CONFIG = {"layers": 2, "width": 8, "head_width": 4, "patch_size": 2, "image_size": 6}
PROJECTED, RUN_SIZE, GRIDS = 5, 12, (2, 3, 4)
FREE = [[0.1, 0.2, 0.45, 0.9], [0.0, 0.0, 1.0, 1.0], [0.62, 0.7, 0.66, 0.95]]


def weights(draws: Draws) -> dict[str, Array]:
    width, patch = CONFIG["width"], CONFIG["patch_size"]
    positions = 1 + (CONFIG["image_size"] // patch) ** 2
    found = {
        "conv1.weight": draws.normal(width, 3, patch, patch, std=0.5),
        "class_embedding": draws.normal(width),
        "positional_embedding": draws.normal(positions, width, std=0.5),
        "proj": draws.normal(width, PROJECTED, std=width**-0.5),
    }
    norms = ["ln_pre", "ln_post"]
    for i in range(CONFIG["layers"]):
        block = f"transformer.resblocks.{i}"
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        shapes = {"attn.in_proj_": (3 * width, width), "attn.out_proj.": (width, width)}
        shapes |= {"mlp.c_fc.": (2 * width, width), "mlp.c_proj.": (width, 2 * width)}
        for name, shape in shapes.items():
            found[f"{block}.{name}weight"] = draws.linear(*shape)
            found[f"{block}.{name}bias"] = draws.normal(shape[0], std=0.1)
    for name in norms:
        found[f"{name}.weight"], found[f"{name}.bias"] = draws.norm(width)
    return found


def cubic(distance: float) -> float:
    """Keys' kernel with a = −0.75."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def interpolated(w: dict[str, Array], side: int) -> Array:
    """Positions (1 + side², D) for another map: the class row as it is, the grid bicubic, corners not aligned."""
    rows = w["positional_embedding"]
    known = math.isqrt(len(rows) - 1)
    grid, found = rows[1:].reshape(known, known, -1), [rows[0]]
    for row in range(side):
        for column in range(side):
            y, x = ((i + 0.5) * known / side - 0.5 for i in (row, column))
            value = 0.0
            for j in range(math.floor(y) - 1, math.floor(y) + 3):
                for i in range(math.floor(x) - 1, math.floor(x) + 3):
                    edge = grid[min(max(j, 0), known - 1), min(max(i, 0), known - 1)]
                    value = value + cubic(y - j) * cubic(x - i) * edge
            found.append(value)
    return np.array(found)


def states(w: dict[str, Array], image: Array, is_dense: bool) -> Array:
    """Positions of the last block's output, class token first: image (3, H, W)."""
    patch, side = CONFIG["patch_size"], image.shape[-1] // CONFIG["patch_size"]
    rows = [w["class_embedding"]]
    for row in range(side):
        for column in range(side):
            part = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            rows.append(np.array([(kernel * part).sum() for kernel in w["conv1.weight"]]))
    is_native = side == CONFIG["image_size"] // patch
    x = np.array(rows) + (w["positional_embedding"] if is_native else interpolated(w, side))
    x = layer_norm(x, w["ln_pre.weight"], w["ln_pre.bias"])
    for i in range(CONFIG["layers"]):
        block = f"transformer.resblocks.{i}"
        normed = layer_norm(x, w[f"{block}.ln_1.weight"], w[f"{block}.ln_1.bias"])
        query, key, value = np.split(
            normed @ w[f"{block}.attn.in_proj_weight"].T + w[f"{block}.attn.in_proj_bias"], 3, 1
        )
        if not (is_dense and i == CONFIG["layers"] - 1):
            value = mixed(probabilities(query, key, CONFIG["width"] // CONFIG["head_width"]), value)
        x = x + value @ w[f"{block}.attn.out_proj.weight"].T + w[f"{block}.attn.out_proj.bias"]
        normed = layer_norm(x, w[f"{block}.ln_2.weight"], w[f"{block}.ln_2.bias"])
        hidden = gelu(normed @ w[f"{block}.mlp.c_fc.weight"].T + w[f"{block}.mlp.c_fc.bias"])
        x = x + hidden @ w[f"{block}.mlp.c_proj.weight"].T + w[f"{block}.mlp.c_proj.bias"]
    return x


def dense(w: dict[str, Array], image: Array, is_projected: bool = False) -> Array:
    """(D, h, w), every position of unit length."""
    x = layer_norm(states(w, image, is_dense=True)[1:], w["ln_post.weight"], w["ln_post.bias"])
    x = x @ w["proj"] if is_projected else x
    side = image.shape[-1] // CONFIG["patch_size"]
    return np.array([row / math.sqrt((row**2).sum()) for row in x]).T.reshape(-1, side, side)


def embedding(w: dict[str, Array], image: Array) -> Array:
    last = layer_norm(states(w, image, is_dense=False)[:1], w["ln_post.weight"], w["ln_post.bias"])
    return last[0] @ w["proj"]


def pooled(features: Array, box: list[float]) -> Array:
    """RoIAlign of one box: ⌈side⌉ bilinear samples an axis, half a cell back, their mean."""
    _, height, width = features.shape
    x0, y0, x1, y1 = box[0] * width - 0.5, box[1] * height - 0.5, box[2] * width - 0.5, box[3] * height - 0.5
    across, down = math.ceil(x1 - x0), math.ceil(y1 - y0)
    total = np.zeros(len(features))
    for j in range(down):
        for i in range(across):
            x = min(max(x0 + (i + 0.5) * (x1 - x0) / across, 0), width - 1)
            y = min(max(y0 + (j + 0.5) * (y1 - y0) / down, 0), height - 1)
            for row in range(height):
                for column in range(width):
                    total += features[:, row, column] * max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
    return total / (across * down)


def grid(k: int) -> list[list[float]]:
    """Cells column by column: x outer, y inner."""
    return [[x / k, y / k, (x + 1) / k, (y + 1) / k] for x in range(k) for y in range(k)]


def case() -> tuple[dict, dict[str, Array], dict[str, Array]]:
    """(config, weights, data)."""
    draws = Draws(14)
    state = weights(draws)
    w, native = wide(state), CONFIG["image_size"]
    recorded = draws.rng.integers(0, 256, (2, 3, RUN_SIZE, RUN_SIZE)).astype(np.uint8)
    images = recorded.astype(np.float64) / 128 - 1
    local, projected = ([dense(w, image, flag) for image in images] for flag in (False, True))
    data = {
        "in.images_uint8": recorded,
        "in.boxes_free": np.array(FREE, dtype=np.float32),
        "out.positional_embedding_interpolated": interpolated(w, RUN_SIZE // CONFIG["patch_size"]),
        "out.dense_local": np.array(local),
        "out.dense_local_native_size": np.array([dense(w, image[:, :native, :native]) for image in images]),
        "out.dense_projected": np.array(projected),
        "out.image_embed_native": np.array([embedding(w, image[:, :native, :native]) for image in images]),
        "out.image_embed_large": np.array([embedding(w, image) for image in images]),
        "out.local_free": np.array([[pooled(features, box) for box in FREE] for features in local]),
    }
    for k in GRIDS:
        for name, maps in (("local", local), ("projected_local", projected)):
            data[f"out.{name}_{k}x{k}"] = np.array([[pooled(features, box) for box in grid(k)] for features in maps])
    config = {"kind": "local_tokens", "vision_cfg": CONFIG, "run_size": RUN_SIZE}
    return config, {f"visual.{name}": array for name, array in state.items()}, data
