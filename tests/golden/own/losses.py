"""Case of the training losses: keypoint matching on latents that are not square, and predicate attention."""

import math

import numpy as np

from .arithmetic import Array, Draws

SIZE, KEYPOINTS, GATE = (6, 9), 17, 333
ITEMS = [{"name": "n2", "n_refs": 2, "timesteps": [0, 333, 334, 900]}, {"name": "n1", "n_refs": 1, "timesteps": [250]}]
BATCH = [20, 333, 700]


def alphas() -> Array:
    """ᾱ of the scaled-linear schedule 0.00085 … 0.012."""
    product, found = 1.0, []
    for i in range(1000):
        beta = (math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 999) ** 2
        product *= 1 - beta
        found.append(product)
    return np.array(found, dtype=np.float32)


def at(latents: Array, point: Array) -> Array:
    """Vector of latents (h, w, C) at a keypoint [x, y]."""
    height, width = latents.shape[:2]
    return latents[min(int(point[1] * height), height - 1), min(int(point[0] * width), width - 1)]


def keypoint_loss(clean: Array, points: Array, concepts: Array) -> tuple[float, list[Array], list[Array]]:
    """Mean square over points and channels of one sample: clean (C, h, w), points (2n, K, 2), concepts (n, h, w, C);
    and what was read of either."""
    objects, squares, read, wanted = len(concepts), [], [], []
    for n in range(objects):
        for k in range(KEYPOINTS):
            read.append(at(clean.transpose(1, 2, 0), points[n, k]))
            wanted.append(at(concepts[n], points[objects + n, k]))
            squares += list((wanted[-1] - read[-1]) ** 2)
    return sum(squares) / len(squares), read, wanted


def item(draws: Draws, data: dict[str, Array], name: str, batch: int, objects: int) -> None:
    shape = (batch, 4, *SIZE)
    data[f"in.{name}.noise"], data[f"in.{name}.model_pred"] = draws.normal(*shape), draws.normal(*shape)
    data[f"in.{name}.keypoints"] = draws.rng.random((batch, 2 * objects, KEYPOINTS, 2)).astype(np.float32)
    data[f"in.{name}.concept_latents"] = draws.normal(batch, objects, *SIZE, 4)


def predicate(draws: Draws, data: dict[str, Array]) -> None:
    mask = np.zeros((1, 12, 12), dtype=np.float32)
    mask[:, 2:9, 4:12] = 1
    data["in.attn_loss.object_segmap"] = mask
    values = []
    for i, side in enumerate((3, 6, 3)):
        attention = data[f"in.attn_loss.map{i}"] = draws.rng.random((1, side, side)).astype(np.float32)
        inside = outside = count = 0.0
        for row in range(side):
            for column in range(side):
                covered = mask[0, row * 12 // side, column * 12 // side]  # nearest: the cell's first pixel
                inside += covered * float(attention[0, row, column])
                outside += (1 - covered) * float(attention[0, row, column])
                count += covered
        values.append(outside / (side * side - count + 1e-5) - inside / (count + 1e-5))
    data["out.attn_loss.cross_attention_loss_intended"] = np.array(np.mean(values))


def case() -> tuple[dict, dict[str, Array], dict[str, Array]]:
    """(config, no weights, data)."""
    draws, data = Draws(13), {"alphas_cumprod": alphas()}

    def data_of(*names):
        return data[f"in.{'.'.join(names)}"].astype(np.float64)

    for entry in ITEMS:
        name = entry["name"]
        item(draws, data, name, 1, entry["n_refs"])
        prediction, noise = data_of(name, "model_pred"), data_of(name, "noise")
        mse = ((prediction - noise) ** 2).mean()
        for timestep in entry["timesteps"]:
            place, alpha = f"{name}.t{timestep}", float(data["alphas_cumprod"][timestep])
            data[f"in.{place}.noisy_latents"] = draws.normal(1, 4, *SIZE)
            clean = (data_of(place, "noisy_latents") - math.sqrt(1 - alpha) * prediction) / math.sqrt(alpha)
            points, concepts = data_of(name, "keypoints")[0], data_of(name, "concept_latents")[0]
            loss, read, wanted = keypoint_loss(clean[0], points, concepts)
            data[f"out.{place}.mse"], data[f"out.{place}.pred_original_sample"] = np.array(mse), clean
            data[f"out.{place}.keypoint_intended_ungated"] = np.array(loss)
            is_open = timestep <= GATE
            if is_open:
                data[f"out.{place}.gt_keypoint_latents"] = np.array(read)
                data[f"out.{place}.concept_keypoint_latents_intended"] = np.array(wanted)
            for weight in (0.1, 0.001):
                data[f"out.{place}.total_intended_w{weight}"] = np.array(mse + weight * loss * is_open)
    item(draws, data, "batched", len(BATCH), 2)
    data["in.batched.timesteps"] = np.array(BATCH)
    data["in.batched.noisy_latents"] = draws.normal(len(BATCH), 4, *SIZE)
    losses = []
    for b, timestep in enumerate(BATCH):
        alpha = float(data["alphas_cumprod"][timestep])
        noisy, prediction = data_of("batched", "noisy_latents")[b], data_of("batched", "model_pred")[b]
        clean = (noisy - math.sqrt(1 - alpha) * prediction) / math.sqrt(alpha)
        points, concepts = data_of("batched", "keypoints")[b], data_of("batched", "concept_latents")[b]
        losses.append(keypoint_loss(clean, points, concepts)[0])
    data["out.batched.keypoint_per_sample_ungated"] = np.array(losses)
    data["out.batched.gate"] = np.array([timestep <= GATE for timestep in BATCH], dtype=np.uint8)
    predicate(draws, data)
    return {"kind": "kml", "gate_timestep": GATE, "scheduler": {"prediction_type": "epsilon"}, "items": ITEMS}, {}, data
