"""Can the laboratory decide? What image tokens, local tokens and the autoencoder hold of characters never seen.

    python -m training.miniature.measure.proportions --output_dir DIR

Local tokens can only matter where they hold what image tokens do not. Probes on frozen features of image prompts read
coarse attributes (species, colour, marking, accessory) and fine ones (glyph, pupils); a judge reads pictures that went
through the autoencoder. All training is on characters that training may see, all figures are of held-out ones.
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.relation_image_encoder import grid_boxes, pool_regions
from relationbooth_pipeline.relation_images import clip_pixels
from relationbooth_pipeline.relation_loaders import load_model

from ..stages.attributes import ATTRIBUTES, FINE_ATTRIBUTES, VISUAL_ATTRIBUTES, attribute_targets
from ..stages.autoencoder import reconstruct
from ..stages.image_prompts import image_prompt
from ..world.identities import GLYPHS, PUPILS, named_character
from ..world.pictures import contact_sheet, to_pictures, to_tensor
from ..world.proportions import EDITIONS, SDXL
from .probes import best_reading, wilson_interval
from .round_trip import JUDGE_PLAN, WORLD, draw_characters, judged_rows, nearest_renders

# Least (or most) share of right readings, per cent, for every attribute of the kind.
AIMS = {
    ("image tokens", "coarse"): (">=", 90),
    ("image tokens", "fine"): ("<=", 60),
    ("local tokens, distilled, 4x4", "fine"): (">=", 85),
    ("after the autoencoder", "fine"): (">=", 90),
}
GRIDS = (WORLD.local_grid, 2 * WORLD.local_grid)  # the partition of the paper, and a finer one
BATCH = 50


@torch.no_grad()
def prompt_features(characters, tower, dense: dict[str, LocalImageEncoder], seed: int) -> dict[str, torch.Tensor]:
    """{row: (R, T, D)} of an image prompt of each character.

    Args:
        tower: of the image tokens. dense: name → encoder of local tokens, which are pooled by each of GRIDS.
    """
    found, rng = {"image tokens": []}, random.Random(f"prompts {seed}")
    for start in range(0, len(characters), BATCH):
        images = [
            image_prompt(character, rng, size=WORLD.prompt, portrait=WORLD.portrait)
            for character in characters[start : start + BATCH]
        ]
        pixels = clip_pixels(images, WORLD.clip_input, WORLD.prompt)
        found["image tokens"].append(tower(pixels, output_hidden_states=True).hidden_states[-2])
        pixels = clip_pixels(images, WORLD.local_input, WORLD.prompt)
        for name, encoder in dense.items():
            features = encoder.dense_features(pixels)
            for grid in GRIDS:
                boxes = grid_boxes(grid).expand(len(images), -1, -1)
                row = f"local tokens, {name}, {grid}x{grid}"
                found.setdefault(row, []).append(pool_regions(features, boxes))
    return {name: torch.cat(parts) for name, parts in found.items()}


def probe_rows(tower, dense: dict, train_count: int, test_count: int, seed: int = 0) -> dict:
    """{row: {attribute: (share of right readings, name of the best probe)}}."""
    drawn = [draw_characters(count, held, seed) for count, held in ((train_count, False), (test_count, True))]
    features = [prompt_features(characters, tower, dense, seed + number) for number, characters in enumerate(drawn)]
    targets = [attribute_targets(characters, attributes=VISUAL_ATTRIBUTES) for characters in drawn]
    return {
        name: best_reading(features[0][name], targets[0], features[1][name], targets[1], seed) for name in features[0]
    }


def verdicts(rows: dict) -> list[str]:
    """One line for each aim: the worst attribute of its kind, and whether it suffices."""
    lines = []
    for (row, kind), (sign, aim) in AIMS.items():
        names = ATTRIBUTES if kind == "coarse" else FINE_ATTRIBUTES
        shares = {name: 100 * rows[row][name][0] for name in names}
        worst = (min if sign == ">=" else max)(shares, key=shares.get)
        reached = shares[worst] >= aim if sign == ">=" else shares[worst] <= aim
        answer = "reached" if reached else "MISSED"
        lines.append(f"- {row}, {kind}: {worst} {shares[worst]:.1f} (aim {sign} {aim}): {answer}")
    return lines


def table(rows: dict, count: int) -> str:
    """Markdown: per cent right of `count` held-out characters, [95 % interval], and by which probe."""
    lines = ["| read from | " + " | ".join(VISUAL_ATTRIBUTES) + " |", "|---" * (1 + len(VISUAL_ATTRIBUTES)) + "|"]
    for row, found in rows.items():
        cells = []
        for name in VISUAL_ATTRIBUTES:
            if name not in found:
                cells.append("")
                continue
            share, reader = found[name]
            low, high = wilson_interval(share, count)
            cells.append(f"{100 * share:.1f} [{100 * low:.0f}, {100 * high:.0f}] {reader}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def size_table() -> str:
    """Markdown: the ratios of every edition beside SDXL's."""
    names = {"SDXL": SDXL, **{f"edition {number}": sizes for number, sizes in EDITIONS.items()}}
    rows = {
        "CLIP's input / picture": lambda sizes: f"{sizes.clip_input / sizes.picture:.2f}",
        "local input / picture": lambda sizes: f"{sizes.local_input / sizes.picture:.2f}",
        "local input / CLIP's": lambda sizes: f"{sizes.local_scale}",
        "image tokens": lambda sizes: f"{(sizes.clip_input // sizes.clip_patch) ** 2}",
        "local patches": lambda sizes: f"{(sizes.local_input // sizes.clip_patch) ** 2}",
    }
    lines = ["| | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    return "\n".join(lines + [f"| {row} | " + " | ".join(map(of, names.values())) + " |" for row, of in rows.items()])


def identity_sheet(path: Path, vae) -> None:
    """Eight characters, one for each glyph: as drawn, as CLIP and as the local encoder see them, after the VAE."""
    rng, prompts = random.Random(5), []
    species, colors = ATTRIBUTES["species"], ATTRIBUTES["color"]
    for number, glyph in enumerate(GLYPHS):
        coarse = species[number], colors[number], ("plain", "spotted", "striped")[number % 3]
        accessory = ("none", "scarf", "hat")[number // 3 % 3]
        character = named_character(*coarse, accessory, glyph, PUPILS[number % len(PUPILS)])
        prompts.append(image_prompt(character, rng, size=WORLD.prompt, portrait=WORLD.portrait))
    drawn = to_tensor([np.asarray(image) for image in prompts])
    rows = list(to_pictures(drawn))
    for side in (WORLD.clip_input, WORLD.local_input):
        small = [image.resize((side, side), Image.Resampling.BICUBIC) for image in prompts]
        rows += [image.resize((WORLD.prompt,) * 2, Image.Resampling.NEAREST) for image in small]
    rows += list(to_pictures(reconstruct(vae, drawn)))
    contact_sheet(rows, path, columns=len(GLYPHS), cell=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="with encoders/, local_encoder/ and vae/")
    parser.add_argument("--train_count", type=int, default=3000, help="image prompts that the probes learn from")
    parser.add_argument("--count", type=int, default=600, help="held-out characters of every figure")
    parser.add_argument("--judge_steps", type=int, default=JUDGE_PLAN.max_train_steps)
    parser.add_argument("--judge_pool", type=int, default=5000, help="renders that the judge learns from")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    root = given.output_dir
    plain, dense = root / "encoders" / "image_encoder", root / "local_encoder"
    for folder in (plain, dense, root / "vae" / "model"):
        if not folder.is_dir():
            raise ValueError(f"`--output_dir` must hold {folder.relative_to(root)}, `{root}` does not. Train it first.")
    tower = load_model(CLIPVisionModelWithProjection, plain, dtype=torch.float32).eval()
    towers = {
        name: load_model(LocalImageEncoder, folder, dtype=torch.float32).eval()
        for name, folder in (("distilled", dense), ("undistilled", plain))
    }
    vae = AutoencoderKL.from_pretrained(root / "vae" / "model").eval()
    rows = probe_rows(tower, towers, given.train_count, given.count)
    plan = replace(JUDGE_PLAN, max_train_steps=given.judge_steps)
    judged, decibel = judged_rows(vae, root / "proportions", plan, given.judge_pool, given.count)
    rows |= {**judged, "after the autoencoder, nearest render": nearest_renders(vae, given.count)}
    identity_sheet(root / "proportions" / "identities.jpg", vae)
    with whole_file(root / "proportions" / "proportions.json") as path:
        path.write_text(json.dumps({"rows": rows, "count": given.count, "psnr": decibel}, indent=1), encoding="utf-8")
    print(size_table(), table(rows, given.count), "\n".join(verdicts(rows)), f"PSNR {decibel:.2f} dB", sep="\n\n")


if __name__ == "__main__":
    main()
