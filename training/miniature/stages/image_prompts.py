"""Image prompts of scenes: drawn, encoded once by the frozen encoders, and kept in files."""

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.relation_image_encoder import LocalImageEncoder
from relationbooth_pipeline.relation_images import clip_pixels
from relationbooth_pipeline.relation_loaders import load_model

from ..world.proportions import PROPORTIONS
from ..world.rendering import BACKGROUNDS, PROMPT_SIZE, render
from ..world.splits import portrait_poses
from .latents import check_kept, drawn, from_tuple

ENCODE_BATCH = 32


@dataclass(frozen=True)
class LocalTokens:
    """Where an adapter's local tokens come from, and how they join its image tokens.

    Attributes:
        encoder: folder of the dense CLIP tower; None: the image encoder's own, undistilled.
        grid: k; 0 turns local tokens off.
        image_size: pixels, the tower's input side.
        injection: `local_injection` of the resampler.
    """

    encoder: str | None = None
    grid: int = PROPORTIONS.local_grid
    image_size: int = PROPORTIONS.local_input
    injection: str = "concat"

    def load(self, image_encoder_folder) -> LocalImageEncoder | None:
        if not self.grid:
            return None
        return load_model(LocalImageEncoder, self.encoder or image_encoder_folder, dtype=torch.float32).eval()

    @property
    def tokens_name(self) -> str:
        """The same for settings that differ in their injection alone."""
        tower = Path(self.encoder).name if self.encoder else "undistilled"
        return f"{tower}_{self.grid}x{self.grid}_{self.image_size}px" if self.grid else "without"

    @property
    def name(self) -> str:
        return f"{self.tokens_name}_{self.injection}"


def image_prompt(character, rng, avoid=None, size=PROMPT_SIZE, portrait=PROPORTIONS.portrait):
    """PIL picture of a character alone, in one of `portrait_poses(avoid)`, before a random background."""
    scene = render(
        [character],
        rng.choice(portrait_poses(avoid)),
        rng.choice(tuple(BACKGROUNDS)),
        rng,
        size=size,
        annotate=False,
        figure_scale=portrait,
    )
    return Image.fromarray(scene.image)


def image_tokens(images, encoder):
    """Image tokens (R, T, E) of PIL pictures, as the pipeline computes them."""
    pixels = clip_pixels(images, encoder.config.image_size, PROMPT_SIZE)
    return encoder(pixels.to(encoder.device), output_hidden_states=True).hidden_states[-2]


def local_tokens(images, encoder, settings: LocalTokens):
    """Local tokens (R, k·k, E) of PIL pictures, as the pipeline computes them."""
    pixels = clip_pixels(images, settings.image_size, PROMPT_SIZE)
    return encoder(pixels.to(encoder.device), grid=settings.grid)


def training_prompt(told):
    """A training image prompt from (character as a tuple, the pose of its scene, seed)."""
    character, pose, seed = told
    return image_prompt(from_tuple(character), random.Random(seed), avoid=pose)


@torch.no_grad()
def encoded_prompts(encoders, scenes, seed, workers=0):
    """What encoders make of one image prompt for each character of each scene; what no file keeps yet is drawn once.

    Args:
        encoders: {file: callable, list of R PIL pictures → (R, T, E)}.
        scenes: of `scene_latents`. seed: of the prompts' poses and backgrounds.
        workers: processes that draw.
    Returns:
        (scenes, 2, T, E) float16 of each encoder; zeros where there is no second character.
    Raises:
        ValueError: a file was made by another encoder, or for other scenes.
    """
    missing = {path: encode for path, encode in encoders.items() if not path.exists()}
    results = _encoded(missing, scenes, seed, workers) if missing else {}
    first = training_prompt(_told(scenes, seed, 0, 0))
    for path, encode in encoders.items():
        if path in missing:
            with whole_file(path) as temporary:
                torch.save(results[path], temporary)
            continue
        results[path] = torch.load(path, weights_only=True)
        if len(results[path]) != len(scenes):
            raise ValueError(f"`{path}` must hold {len(scenes)} scenes' tokens, got {len(results[path])}. Remove it.")
        check_kept(path, results[path][0, :1], encode([first]).half().cpu(), "encoder")
    return [results[path] for path in encoders]


def _told(scenes, seed, index, number):
    """Of a scene's character, what `training_prompt` asks for."""
    characters, pose, _ = scenes[index]
    return characters[number], pose, seed * 1_000_003 + 2 * index + number


def _encoded(encoders, scenes, seed, workers):
    results, rows = {}, [(index, number) for index, scene in enumerate(scenes) for number in range(len(scene[0]))]
    told = [_told(scenes, seed, *row) for row in rows]
    drawing = drawn(training_prompt, told, workers)
    for start in tqdm(range(0, len(rows), ENCODE_BATCH), desc="image prompts", mininterval=10):
        part = rows[start : start + ENCODE_BATCH]
        pictures = list(islice(drawing, len(part)))
        for path, encode in encoders.items():
            values = encode(pictures).half().cpu()
            if path not in results:
                results[path] = values.new_zeros(len(scenes), 2, *values.shape[1:])
            results[path][tuple(torch.tensor(part).T)] = values
    return results
