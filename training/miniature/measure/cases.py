"""Cases that compared rows share, the pictures drawn for them, and what the judges say of these, with intervals."""

import json
import random
from pathlib import Path

import numpy as np
import torch

from relationbooth_pipeline.evaluation.statistics.bootstrap import mean_interval
from relationbooth_pipeline.relation_files import whole_file

from ..judges.scenes import in_boxes, keypoint_distance
from ..stages.attributes import ATTRIBUTES, FINE_ATTRIBUTES
from ..stages.base import GUIDANCE
from ..stages.image_prompts import image_prompt
from ..world.captions import make_caption
from ..world.pictures import to_pictures
from ..world.poses import RELATIONS
from ..world.rendering import BACKGROUNDS, render
from ..world.splits import held_out_characters

COARSE, FINE = tuple(ATTRIBUTES), tuple(FINE_ATTRIBUTES)
TOLD_APART = ("species", "color")  # what "swapped" looks at
ADAPTER = "adapter alone"  # the row without any RelationLoRA
RENDERS = "renders of the same cases"  # what the judges read where nothing is lost: arms hide a belly's glyph
BOOTSTRAP = 2000  # resamples of the percentile intervals


def adapter_folder(model):
    """Of a pipeline folder."""
    return Path(model) / "relation_adapter"


def draw_cases(pose, count, seed):
    """`count` cases of a pose: held-out characters, captions, image prompts, seed, a render, its boxes, keypoints."""
    cases, unseen = [], held_out_characters()
    for number in range(count):
        rng = random.Random(f"{seed}/{pose}/{number}")  # a text seed does not depend on the interpreter
        characters = rng.sample(unseen, 2 if pose in RELATIONS else 1)
        background = rng.choice(tuple(BACKGROUNDS))
        layout = render(characters, pose, background, rng)
        cases.append(
            {
                "pose": pose,
                "characters": characters,
                "render": layout.image,
                "boxes": layout.boxes,
                "keypoints": layout.keypoints,
                "image_prompts": [image_prompt(character, rng) for character in characters],
                "fine": make_caption(characters, pose, background, "fine"),
                "species": make_caption(characters, pose, background, "species"),
                "seed": rng.randrange(2**31),
            }
        )
    return cases


@torch.no_grad()
def draw_pictures(pipeline, cases, detail, with_prompts, scale=1.0, batch=8, start_seed=0, change=None):
    """(cases, S, S, 3) uint8, drawn for captions of one detail, with or without image prompts.

    Args:
        change: callable, what the encoders say of image prompts (`EncodedImagePrompts`) → what is drawn with instead.
    """
    pictures = []
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        arguments = {"generator": [torch.Generator().manual_seed(case["seed"] + start_seed) for case in part]}
        if with_prompts:
            prompts, phrases = [case["image_prompts"] for case in part], [list(case[detail].phrases) for case in part]
            encoded = pipeline.encode_image_prompts(prompts, phrases, len(part))
            arguments["image_prompts"] = encoded if change is None else change(encoded)
            arguments["boxes"] = [case["boxes"].tolist() for case in part]
            arguments["image_prompt_scale"] = scale
        output = pipeline([case[detail].text for case in part], output_type="pt", **GUIDANCE, **arguments).images
        pictures.append(to_pictures(output * 2 - 1))
    return np.concatenate(pictures)


def renders(cases):
    """The cases as the world draws them, (cases, S, S, 3) uint8."""
    return np.stack([case["render"] for case in cases])


def judge(judges, cases, pictures, placed=True):
    """Per case: relation right, each attribute right for all characters, mean keypoint distance in their boxes.

    "relation" is right when the pose is the likeliest answer, which may also be "none"; "broken" says that the drawing
    is not whole, whatever it shows. "swapped" says that two characters that differ in species or colour each have the
    other's. Where the judges know fine attributes, "fine" is right when all of them are, and "fine swapped" says that
    one of them was exchanged.

    Args:
        placed: whether boxes said who stands where, as image prompts' do: characters are then judged there. Captions
            alone do not: the judges find the boxes themselves, and who of a pair is who is decided in favour of the
            picture, by the number of right attributes.
    """
    rows = [(index, number) for index, case in enumerate(cases) for number in range(len(case["characters"]))]
    seen_pictures = judges.look(pictures)
    if placed:
        boxes = np.array([cases[index]["boxes"][number] for index, number in rows])
    else:
        boxes = np.array([seen_pictures.boxes[index, number].numpy() for index, number in rows])
    names, points = judges.characters(pictures[[index for index, _ in rows]], boxes)
    points = in_boxes(points, torch.tensor(boxes, dtype=torch.float32))
    found = {row: ({name: values[at] for name, values in names.items()}, points[at]) for at, row in enumerate(rows)}
    results = []
    for index, case in enumerate(cases):
        count = len(case["characters"])
        seen = [found[index, number] for number in range(count)]
        orders = [seen] if placed else [seen, seen[::-1]][:count]
        _, best = max((_verdict(case, order) for order in orders), key=lambda verdict: verdict[0])
        relation, broken = seen_pictures.poses[index] == case["pose"], seen_pictures.broken[index] > 0.5
        results.append({"relation": float(relation), "broken": float(broken), **best})
    return results


def _verdict(case, seen):
    """(number of right attributes, figures) of one case by its characters' (names, keypoints in their boxes)."""
    characters, names = case["characters"], [names for names, _ in seen]
    right = {n: [float(f[n] == getattr(c, n)) for f, c in zip(names, characters)] for n in names[0]}
    result = {name: min(values) for name, values in right.items()}
    result["species and color"] = result["species"] * result["color"]
    result["swapped"] = float(_swapped(characters, names, TOLD_APART))
    fine = [name for name in FINE if name in right]
    if fine:
        result["coarse"] = min(result[name] for name in COARSE)
        result["fine"] = min(result[name] for name in fine)
        result["fine swapped"] = float(_swapped(characters, names, fine))
    expected = torch.tensor(np.array(case["keypoints"]), dtype=torch.float32)
    places = in_boxes(expected[..., :2], torch.tensor(np.array(case["boxes"]), dtype=torch.float32))
    distances = keypoint_distance(torch.stack([points for _, points in seen]), places, expected[..., 2] > 0)
    return sum(map(sum, right.values())), {**result, "keypoint distance": distances.mean().item()}


def _swapped(characters, found, attributes):
    """Whether two characters differ in one of the attributes and have each other's."""
    if len(characters) != 2:
        return False
    first, second = characters
    return any(
        getattr(first, name) != getattr(second, name)
        and found[0][name] == getattr(second, name)
        and found[1][name] == getattr(first, name)
        for name in attributes
    )


def stored(path, compute):
    """`compute()`, JSON-ready, kept in the file `path`: read from there when it has been worked out before."""
    if not path.exists():
        text = json.dumps(compute(), indent=1) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def mean_over_seeds(verdicts):
    """Figures of each case, averaged over training seeds: lists of equal length → one such list."""
    return [{name: sum(v[name] for v in case) / len(case) for name in case[0]} for case in zip(*verdicts)]


def interval(values, seed=0):
    """Mean and 95 % percentile bootstrap interval of per-case values, or of paired differences."""
    found = mean_interval(values, BOOTSTRAP, seed)
    return {"mean": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def summarise(results, reference=None):
    """Intervals of results of the same cases, or of their differences from `reference`."""
    minus = reference or [dict.fromkeys(result, 0.0) for result in results]
    return {name: interval([a[name] - b[name] for a, b in zip(results, minus)]) for name in results[0]}


def compared(judged, default):
    """The table of {row: {pose: results}}, all of the same cases.

    Returns:
        JSON-ready: {"rows": {row: {pose: figures}}, "differences": {"row − default": {pose: figures}}}; no differences
        unless the default is among the rows.
    """
    base = judged.get(default)
    others = {} if base is None else {row: by_pose for row, by_pose in judged.items() if row != default}
    return {
        "rows": {row: {pose: summarise(found) for pose, found in by_pose.items()} for row, by_pose in judged.items()},
        "differences": {
            f"{row} − {default}": {pose: summarise(found, base[pose]) for pose, found in by_pose.items()}
            for row, by_pose in others.items()
        },
    }
