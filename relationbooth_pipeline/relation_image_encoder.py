"""LocalImageEncoder: dense CLIP features pooled to local tokens (RelationBooth, Eqs. 8–9); the encoding step;
where an adapter's encoders lie.

Shape letters: R images, h w feature map, k grid side, D vision width, E projection width.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedModel,  # noqa: F401 (diffusers finds a component's load method by the base classes its module names)
)
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from .relation_files import fetched
from .relation_images import clip_pixels, pool_regions
from .relation_inputs import EncodedImagePrompts, images_per_sample, phrases_per_sample

# What an encoder is called in an adapter's folder → the pipeline's slot for it
NO_ENCODER = "none"  # in an adapter's config: it was saved without this encoder, on purpose
ENCODER_SLOTS = {"image_encoder": "image_prompt_encoder", "local_image_encoder": "local_image_encoder"}


def grid_boxes(grid: int) -> torch.Tensor:
    """k·k equal cells, XYXY in [0, 1], (k·k, 4).

    Order: x outer, y inner, so token index = column·k + row, as the released encoder has it (golden case
    `local_tokens`).
    """
    edges = torch.arange(grid) / grid
    x0, y0 = torch.meshgrid(edges, edges, indexing="ij")
    return torch.stack([x0, y0, x0 + 1 / grid, y0 + 1 / grid], dim=-1).reshape(-1, 4)


class _DenseEmbeddings(CLIPVisionEmbeddings):
    """CLIP's, whose learned positions are asked through their layer where they are interpolated: transformers reads the
    layer's weights, which stay on the CPU when each layer is offloaded by itself."""

    def interpolate_pos_encoding(self, embeddings: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """(1, 1 + h·w, D): the class token's, and the grid's by bicubic interpolation."""
        learned, patch = self.position_embedding(self.position_ids), self.patch_size
        side = self.image_size // patch
        grid = learned[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, (height // patch, width // patch), mode="bicubic", align_corners=False)
        return torch.cat([learned[:, :1], grid.flatten(2).transpose(1, 2)], 1)


class LocalImageEncoder(CLIPVisionModelWithProjection):
    """A CLIP vision tower read densely. Any CLIP repository of transformers loads with `from_pretrained`.

    The last block keeps only its value path (attention would mix positions again), the class token is dropped, and
    every position is scaled to unit length. The last block's queries and keys are never computed.

    Departs from the reference: every image is pooled from its own map (the reference pools all of them from the first).
    """

    def __init__(self, config: CLIPVisionConfig):
        super().__init__(config)
        self.vision_model.embeddings.__class__ = _DenseEmbeddings  # the same weights under the same names

    def dense_features(self, pixel_values: torch.Tensor, project: bool = False) -> torch.Tensor:
        """Unit-length feature of every patch.

        Args:
            pixel_values: CLIP-normalised, (R, 3, H, W), sides multiples of the patch size; positions are interpolated.
            project: also apply the projection to CLIP's image–text space (distillation compares there).
        Returns:
            (R, D or E, h, w).
        Raises:
            ValueError: a side is smaller than, or no multiple of, the patch size.
        """
        patch = self.config.patch_size
        height, width = pixel_values.shape[-2:]
        if min(height, width) < patch or height % patch or width % patch:
            raise ValueError(
                f"`pixel_values` must have sides that are multiples of the patch size {patch}, got {height}×{width}. "
                "Resize the image first."
            )
        tower = self.vision_model
        states = tower.pre_layrnorm(tower.embeddings(pixel_values, interpolate_pos_encoding=True))
        *blocks, last = tower.encoder.layers
        for block in blocks:
            states = block(states, None)
        attention = last.self_attn
        states = states + attention.out_proj(attention.v_proj(last.layer_norm1(states)))
        states = states + last.mlp(last.layer_norm2(states))
        states = tower.post_layernorm(states[:, 1:])
        if project:
            states = self.visual_projection(states)
        states = F.normalize(states, dim=-1)
        return states.transpose(1, 2).unflatten(-1, (height // patch, width // patch))

    def forward(
        self,
        pixel_values: torch.Tensor,
        grid: int = 4,
        boxes: torch.Tensor | None = None,
        project: bool = False,
    ) -> torch.Tensor:
        """Local tokens.

        Args:
            grid: k; k·k cells in the order of `grid_boxes`. Ignored when `boxes` are given.
            boxes: XYXY in [0, 1], (R, M, 4), to pool other regions.
        Returns:
            (R, k·k or M, D or E). Pooled vectors are not scaled to unit length again.
        Raises:
            ValueError: the grid is finer than the feature map.
        """
        features = self.dense_features(pixel_values, project)
        if boxes is None:
            if grid > min(features.shape[-2:]):
                h, w = features.shape[-2:]
                raise ValueError(
                    f"`grid` must not exceed the feature map {h}×{w}, got {grid}. Use a larger input image."
                )
            boxes = grid_boxes(grid).to(features.device).expand(len(features), -1, -1)
        return pool_regions(features, boxes)


class RelationEncodingMixin:
    """The pipeline's step through the frozen encoders; expects image prompt encoders, adapter, and the first text
    encoder with its tokenizer."""

    @torch.no_grad()
    def encode_image_prompts(self, image_prompts: Any, phrases: Any, batch_size: int = 1) -> EncodedImagePrompts:
        """Image prompts through the encoders, once; pass the result as `image_prompts` as often as you like.

        Args:
            image_prompts, phrases: as in `__call__`.
            batch_size: number of prompts that they are for.
        """
        self.check_adapter()
        samples = images_per_sample(image_prompts, batch_size)
        return self._encode_samples(samples, phrases_per_sample(phrases, [len(sample) for sample in samples]))

    def _encode_samples(self, samples, phrases) -> EncodedImagePrompts:
        adapter, device = self.relation_adapter, self._execution_device
        images = [image for sample in samples for image in sample]
        present = torch.arange(max(map(len, samples))) < torch.tensor([len(sample) for sample in samples])[:, None]

        def padded(rows):  # one row per image → (B, N, …), zeros for absent objects
            full = rows.new_zeros(*present.shape, *rows.shape[1:])
            full[present.to(rows.device)] = rows
            return full

        def pixels(encoder, size):
            return clip_pixels(images, size, adapter.config.image_prompt_size).to(device, encoder.dtype)

        encoder, local = self.image_prompt_encoder, self.local_image_encoder
        if encoder is None:
            raise ValueError(
                "encoding `image_prompts` needs `image_prompt_encoder`. Load the adapter with its encoders again."
            )
        image_tokens = encoder(pixels(encoder, encoder.config.image_size), output_hidden_states=True).hidden_states[-2]
        local_tokens = None
        if local is not None:
            local_tokens = padded(local(pixels(local, adapter.config.local_image_size), grid=adapter.config.local_grid))
        phrase_embeds = self._phrase_embeds([phrase for sample in phrases for phrase in sample])
        return EncodedImagePrompts(padded(image_tokens), padded(phrase_embeds), present, local_tokens, phrases)

    def _phrase_embeds(self, phrases: list[str]) -> torch.Tensor:
        """Pooled output of the first text encoder, (R, D): the final norm's state at the end token."""
        if self.text_encoder is None:
            raise ValueError(
                "encoding `phrases` needs the first text encoder. Load it, or pass `encode_image_prompts`' result."
            )
        tokens = self.tokenizer(
            self.maybe_convert_prompt(phrases, self.tokenizer),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self._execution_device)).pooler_output


def find_adapter_folder(source: str | Path, subfolder: str | None, hub: dict) -> Path:
    """The folder of a RelationAdapter, fetched with its encoders when `source` is a Hub repository.

    Raises:
        ValueError: there is none.
    """
    if Path(source).is_dir():
        folder = Path(source) / (subfolder or "")
    else:
        prefix = f"{subfolder}/" if subfolder else ""
        above = prefix.removesuffix("/").rpartition("/")[0]
        folders = [prefix, *(f"{above}/{slot}/".removeprefix("/") for slot in ENCODER_SLOTS.values())]
        patterns = [f"{name}{ending}" for name in folders for ending in ("*.json", "*.safetensors")]
        patterns.append(f"{above}/model_index.json".removeprefix("/"))
        folder = fetched(snapshot_download, source, allow_patterns=patterns, **hub) / (subfolder or "")
    if not is_adapter_folder(folder):
        raise ValueError(
            f"`{folder}` is no relation adapter (its config.json names no RelationAdapter). For MS-Diffusion's file "
            "name it: `weight_name='ms_adapter.bin'`."
        )
    return folder


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds a RelationAdapter, by its config."""
    config = folder / "config.json"
    return config.is_file() and "RelationAdapter" in config.read_text(encoding="utf-8")


def encoder_source(name: str, folder: Path | None, repository: str | None) -> Path | str | None:
    """Where an adapter's encoder lies: in its folder, beside it in a saved pipeline, or where its config says; None
    when that says `NO_ENCODER`.

    Args:
        name: of `ENCODER_SLOTS`. folder: the adapter's. repository: of its config.
    Raises:
        ValueError: nowhere.
    """
    if folder is not None:
        beside = folder.parent / ENCODER_SLOTS[name]
        if (folder / name).is_dir():
            return folder / name
        if (folder.parent / "model_index.json").is_file() and beside.is_dir():
            return beside
    if repository:
        return None if repository == NO_ENCODER else repository
    off = " (or None to do without local tokens)" if name == "local_image_encoder" else ""
    raise ValueError(f"the adapter brings no `{name}` and names none. Pass `{name}=` a folder or Hub repository{off}.")
