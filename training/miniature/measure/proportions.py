"""Can the laboratory decide? What image tokens, local tokens and the autoencoder hold of characters never seen.

    python -m training.miniature.measure.proportions --output_dir DIR

Local tokens can only matter where they hold what image tokens do not. Probes on frozen features of image prompts read
coarse attributes (species, colour, marking, accessory) and fine ones (glyph, pupils); a judge reads pictures that went
through the autoencoder. All training is on characters that training may see, all figures are of held-out ones.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.relation_images import clip_pixels
from relationbooth_pipeline.relation_loaders import load_model

from ..stages.attributes import ATTRIBUTES, FINE_ATTRIBUTES, VISUAL_ATTRIBUTES, attribute_targets
from ..stages.autoencoder import psnr, reconstruct
from ..stages.image_prompts import image_prompt
from ..stages.training_loop import Trainer, TrainingPlan
from ..world.identities import GLYPHS, PUPILS, named_character, with_random_details
from ..world.pictures import contact_sheet, to_pictures, to_tensor
from ..world.proportions import EDITIONS, SDXL
from ..world.rendering import BACKGROUNDS, render
from ..world.splits import held_out_characters, training_character
from .judges import Judge, crop_boxes, disturb, with_margin
from .probes import best_reading, wilson_interval

WORLD = EDITIONS[2]
ACTIONS = ("standing", "waving", "jumping")  # one figure, so that whatever cannot be read is not merely hidden
# Least (or most) share of right readings, per cent, for every attribute of the kind.
AIMS = {
    ("image tokens", "coarse"): (">=", 90),
    ("image tokens", "fine"): ("<=", 60),
    ("local tokens, distilled, 4x4", "fine"): (">=", 85),
    ("after the autoencoder", "fine"): (">=", 90),
}
JUDGE_PLAN = TrainingPlan(max_train_steps=450, muon_learning_rate=0.02, constant_share=0.5, sample_steps=10_000)
BATCH = 50


def draw_characters(count: int, held_out: bool, seed: int) -> list:
    """Characters with random fine attributes."""
    rng, unseen = random.Random(f"proportions {seed} {held_out}"), held_out_characters(fine=False)
    if held_out:
        return [with_random_details(rng.choice(unseen), rng) for _ in range(count)]
    return [training_character(rng, 0.0, fine=True) for _ in range(count)]


@torch.no_grad()
def prompt_features(characters, encoders: dict, seed: int) -> dict[str, torch.Tensor]:
    """{row: (R, T, D)} of an image prompt of each character.

    Args:
        encoders: {"image": vision tower, row name of local tokens: (LocalImageEncoder, grid)}.
    """
    found = {"image tokens": [], **{name: [] for name in encoders if name != "image"}}
    rng = random.Random(f"prompts {seed}")
    for start in range(0, len(characters), BATCH):
        images = [image_prompt(character, rng, size=WORLD.prompt) for character in characters[start : start + BATCH]]
        tower, pixels = encoders["image"], clip_pixels(images, WORLD.clip_input, WORLD.prompt)
        found["image tokens"].append(tower(pixels, output_hidden_states=True).hidden_states[-2])
        pixels = clip_pixels(images, WORLD.local_input, WORLD.prompt)
        for name in found.keys() - {"image tokens"}:
            encoder, grid = encoders[name]
            found[name].append(encoder(pixels, grid=grid))
    return {name: torch.cat(parts) for name, parts in found.items()}


def probe_rows(encoders: dict, train_count: int, test_count: int, seed: int = 0) -> dict:
    """{row: {attribute: (share of right readings, name of the best probe)}}."""
    drawn = [draw_characters(count, held, seed) for count, held in ((train_count, False), (test_count, True))]
    features = [prompt_features(characters, encoders, seed + number) for number, characters in enumerate(drawn)]
    targets = [attribute_targets(characters, attributes=VISUAL_ATTRIBUTES) for characters in drawn]
    return {
        name: best_reading(features[0][name], targets[0], features[1][name], targets[1], seed) for name in features[0]
    }


def draw_pictures(count: int, held_out: bool, seed: int) -> list:
    """Annotated scenes of one character each."""
    rng = random.Random(f"pictures {seed} {held_out}")
    return [
        render([character], rng.choice(ACTIONS), rng.choice(tuple(BACKGROUNDS)), rng, size=WORLD.picture)
        for character in draw_characters(count, held_out, seed)
    ]


def judged_rows(vae, folder: Path, plan: TrainingPlan, pool: int, test_count: int, seed: int = 0) -> tuple[dict, float]:
    """({"renders", "after the autoencoder": {attribute: (share, "judge")}}, PSNR in dB) by a judge of 64 px crops.

    The judge learns from renders alone, a little blurred and noisy, and never sees the autoencoder's pictures.
    """
    torch.manual_seed(plan.seed)
    judge = Judge({name: len(values) for name, values in VISUAL_ATTRIBUTES.items()})
    trainer = Trainer({"judge": judge}, plan, folder)
    scenes = draw_pictures(pool, False, seed)

    def crops(chosen, images, rng=None):
        boxes = torch.stack([torch.from_numpy(scene.boxes[0]) for scene in chosen])
        if rng is not None:
            boxes = boxes + torch.tensor([[rng.uniform(-0.03, 0.03) for _ in range(4)] for _ in chosen])
        return crop_boxes(images, with_margin(boxes))

    def targets_of(chosen):
        return attribute_targets([scene.characters[0] for scene in chosen], attributes=VISUAL_ATTRIBUTES)

    def loss_of(step, rng):
        chosen = rng.sample(scenes, 40)
        images = disturb(to_tensor([scene.image for scene in chosen]), rng)
        answers, targets = judge(crops(chosen, images, rng)), targets_of(chosen)
        return sum(F.cross_entropy(answers[name], targets[name]) for name in targets), {}

    trainer.run(loss_of)
    judge.eval()
    unseen = draw_pictures(test_count, True, seed)
    clean, targets = to_tensor([scene.image for scene in unseen]), targets_of(unseen)
    with torch.no_grad():
        pictures = {"renders": clean, "after the autoencoder": reconstruct(vae, clean)}
        answers = {name: judge(crops(unseen, images)) for name, images in pictures.items()}
    rows = {
        row: {n: ((found[n].argmax(-1) == targets[n]).double().mean().item(), "judge") for n in VISUAL_ATTRIBUTES}
        for row, found in answers.items()
    }
    return rows, psnr(clean, pictures["after the autoencoder"])


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
        for share, reader in found.values():
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
        prompts.append(image_prompt(character, rng, size=WORLD.prompt))
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
    encoders = {"image": load_model(CLIPVisionModelWithProjection, plain, dtype=torch.float32).eval()}
    for name, folder in (("distilled", dense), ("undistilled", plain)):
        local = load_model(LocalImageEncoder, folder, dtype=torch.float32).eval()
        for grid in (WORLD.local_grid, 2 * WORLD.local_grid):
            encoders[f"local tokens, {name}, {grid}x{grid}"] = (local, grid)
    vae = AutoencoderKL.from_pretrained(root / "vae" / "model").eval()
    rows = probe_rows(encoders, given.train_count, given.count)
    plan = TrainingPlan(**{**JUDGE_PLAN.__dict__, "max_train_steps": given.judge_steps})
    judged, decibel = judged_rows(vae, root / "proportions", plan, given.judge_pool, given.count)
    rows |= judged
    identity_sheet(root / "proportions" / "identities.jpg", vae)
    with whole_file(root / "proportions" / "proportions.json") as path:
        path.write_text(json.dumps({"rows": rows, "count": given.count, "psnr": decibel}, indent=1), encoding="utf-8")
    print(size_table(), table(rows, given.count), "\n".join(verdicts(rows)), f"PSNR {decibel:.2f} dB", sep="\n\n")


if __name__ == "__main__":
    main()
