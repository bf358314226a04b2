"""What adapter training reads of a triplet: the frozen models' answers, fresh at every call or kept in files.

Shape letters: N objects, T text or image tokens, E vision width, C latent channels, h w latent grid.
"""

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from relationbooth_pipeline import RelationBoothPipeline
from relationbooth_pipeline.relation_files import whole_file
from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.triplets import Triplet

from ..common.frozen_models import fit_vae_for_encoding
from ..common.latents import latent_posterior, with_area
from ..common.options import ViewOptions
from ..common.views import bucket_size, draw_view

OF_OBJECTS = ("image_tokens", "local_tokens", "phrase_embeds", "boxes")  # padded to the most objects of a batch


@torch.no_grad()
def encode_conditions(pipe: RelationBoothPipeline, triplet: Triplet) -> dict[str, torch.Tensor]:
    """What all views of a triplet share, by the pipeline's own inference code.

    Returns:
        context (T, ·), pooled (·), image_tokens (N, T, E), phrase_embeds (N, ·), and local_tokens (N, ·, E) if the
        pipeline has a local image encoder.
    """
    context, _, pooled, _ = pipe.encode_prompt(triplet.prompt, do_classifier_free_guidance=False)
    prompts = pipe.encode_image_prompts([open_image(file) for file in triplet.image_prompts], triplet.phrases)
    encoded = {
        "context": context,
        "pooled": pooled,
        "image_tokens": prompts.image_tokens,
        "phrase_embeds": prompts.phrase_embeds,
        "local_tokens": prompts.local_tokens,
    }
    return {name: tensor[0] for name, tensor in encoded.items() if tensor is not None}


@torch.no_grad()
def encode_view(
    pipe: RelationBoothPipeline, triplet: Triplet, views: ViewOptions, rng: random.Random
) -> dict[str, torch.Tensor]:
    """One random view of the target.

    Returns:
        latent_mean, latent_std (C, h, w), scaled by the VAE factor; boxes (N, 4); time_ids (6,); all float32.
    """
    view = draw_view(triplet, views, rng)
    fit_vae_for_encoding(pipe.vae)
    mean, std = latent_posterior(pipe.vae, view.pixels[None])
    time_ids = [*view.original_size, *view.crop_top_left, *view.pixels.shape[-2:]]
    return {
        "latent_mean": mean[0],
        "latent_std": std[0],
        "boxes": with_area(view.boxes, *mean.shape[-2:]),
        "time_ids": torch.tensor(time_ids, dtype=torch.float32),
    }


def collate(samples: list[dict[str, torch.Tensor]], device: torch.device | str) -> dict[str, torch.Tensor]:
    """One batch of samples of one size, with `present`, bool (B, N): False for the padding of samples with fewer
    objects."""
    counts = torch.tensor([len(sample["boxes"]) for sample in samples])
    batch = {"present": (torch.arange(counts.max()) < counts[:, None]).to(device)}
    for name in samples[0]:
        rows = [sample[name].to(device) for sample in samples]
        padded = name in OF_OBJECTS
        batch[name] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) if padded else torch.stack(rows)
    return batch


def fingerprint(source: str | Path | None) -> list | str:
    """What tells whether the files of a folder changed: names, sizes and times; of anything else its name."""
    folder = Path(str(source))
    if not folder.is_dir():
        return str(source)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [str(folder.resolve()), *([str(file.relative_to(folder)), *_stamp(file)] for file in files)]


class AdapterSamples:
    """Samples by (triplet, view): a function of the arguments alone, so a resumed run reads what an unbroken one does.

    Args:
        pipe: with adapter and encoders.
        seed: of the views.
        folder: of encodings, one safetensors file for each triplet with all its views; None encodes at every call.
        settings: JSON of whatever else encodings depend on. It is part of the files' names, as is the triplet: what
            was encoded otherwise is never read.
    """

    def __init__(
        self,
        pipe: RelationBoothPipeline,
        triplets: list[Triplet],
        views: ViewOptions,
        seed: int,
        folder: str | Path | None = None,
        settings: str = "",
    ):
        self.pipe, self.triplets, self.folder = pipe, triplets, None if folder is None else Path(folder)
        self.views, self.seed = views, seed
        self.settings = [settings, asdict(views), seed]

    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of every triplet's views, pixels."""
        return [bucket_size(*open_image(triplet.image).size, self.views.resolution) for triplet in self.triplets]

    def __call__(self, item: int, view: int) -> dict[str, torch.Tensor]:
        """`encode_conditions` and `encode_view` of one view.

        Raises:
            ValueError: its file is missing or damaged.
        """
        if self.folder is None:
            return {**encode_conditions(self.pipe, self.triplets[item]), **self._encode_view(item, view)}
        file = self.file(item)
        try:
            with safe_open(file, "pt") as stored:
                places = {name: name.rpartition("/") for name in stored.keys()}
                return {last: stored.get_tensor(n) for n, (at, _, last) in places.items() if at in ("", str(view))}
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"`{file}` cannot be read ({error}). Delete it and start again, it is then made anew; on several "
                "machines `--encodings_dir` must be a folder that they share."
            ) from error

    def store(self, items: Iterable[int]) -> None:
        """Encode those of `items` that have no file yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [item for item in items if not self.file(item).exists()]
        for item in tqdm(missing, desc="encoding triplets", disable=not missing):
            encoded = encode_conditions(self.pipe, self.triplets[item])
            for view in range(self.views.views_per_triplet):
                encoded |= {f"{view}/{name}": value for name, value in self._encode_view(item, view).items()}
            with whole_file(self.file(item)) as temporary:
                save_file({name: tensor.cpu().contiguous() for name, tensor in encoded.items()}, temporary)

    def file(self, item: int) -> Path:
        """Where an item is kept, named by all that it depends on."""
        triplet = self.triplets[item]
        files = [[str(file), *_stamp(file)] for file in (triplet.image, *triplet.image_prompts)]
        key = [self.settings, item, files, triplet.prompt, triplet.phrases, triplet.boxes.tolist()]
        return self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.safetensors"

    def _encode_view(self, item: int, view: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"view {self.seed} {item} {view}")
        return encode_view(self.pipe, self.triplets[item], self.views, rng)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
