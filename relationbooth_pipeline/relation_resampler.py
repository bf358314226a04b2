"""LocalTokenResampler: image tokens, local tokens, phrase and box of an object → a few object tokens.

Shape letters: R rows (objects of all samples, sample-major), T image tokens, T' = k·k local tokens, L tokens per
object, C context width of the UNet, D resampler width, F Fourier frequencies.
"""

import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

FOURIER_TEMPERATURE = 100  # of the released adapters; golden case `resampler`
LOCAL_INJECTIONS = ("concat", "add", "linear")


def fourier_embedding(boxes: torch.Tensor, frequencies: int) -> torch.Tensor:
    """Box embedding with frequencies 100^(i/F), i = 0..F−1, and no 2π.

    Args:
        boxes: XYXY in [0, 1], (..., 4).
    Returns:
        (..., 8F) in the boxes' dtype: frequency outermost, then sine before cosine, then x0 y0 x1 y1.
    Departs from the reference: computed in float32, since half precision cannot resolve the highest frequencies.
    """
    scales = FOURIER_TEMPERATURE ** (torch.arange(frequencies, device=boxes.device) / frequencies)
    angles = boxes.float()[..., None, None, :] * scales[:, None, None]  # (..., F, 1, 4)
    return torch.cat([angles.sin(), angles.cos()], dim=-2).flatten(-3).to(boxes.dtype)


def local_token_of_each_patch(local_tokens: torch.Tensor, image_tokens: int) -> torch.Tensor:
    """The local token of the cell that each patch lies in; zeros for the class token.

    Args:
        local_tokens: k·k cells, column by column (`grid_boxes`), (R, k·k, E).
        image_tokens: T = 1 + P·P: the class token, then the patches row by row.
    Returns:
        (R, T, E).
    Raises:
        ValueError: the tokens do not form squares.
    """
    cells, side = math.isqrt(local_tokens.shape[1]), math.isqrt(image_tokens - 1)
    if cells**2 != local_tokens.shape[1] or side**2 != image_tokens - 1:
        raise ValueError(
            f"local tokens are added to patches of a square map: there must be k·k of them, got "
            f"{local_tokens.shape[1]}, and 1 + P·P image tokens, got {image_tokens}. `local_injection='concat'` takes "
            "any number."
        )
    cell = torch.arange(side, device=local_tokens.device) * cells // side
    index = (cell[None, :] * cells + cell[:, None]).flatten()  # row by row: column varies fastest
    return F.pad(local_tokens[:, index], (0, 0, 1, 0))


class PerceiverAttention(nn.Module):
    """Queries attend to [tokens, queries] (Flamingo's perceiver; golden case `resampler`)."""

    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__()
        self.heads = heads
        inner = heads * dim_head
        self.norm_tokens, self.norm_queries = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, tokens: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        tokens, queries = self.norm_tokens(tokens), self.norm_queries(queries)
        key, value = self.to_kv(torch.cat([tokens, queries], dim=1)).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.to_q(queries), key, value))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ResamplerLayer(nn.Module):
    """Perceiver attention, then a feed-forward net, each with a residual."""

    def __init__(self, dim: int, heads: int, dim_head: int, ff_mult: int):
        super().__init__()
        self.attention = PerceiverAttention(dim, heads, dim_head)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, ff_mult * dim, bias=False),
            nn.GELU(),
            nn.Linear(ff_mult * dim, dim, bias=False),
        )

    def forward(self, tokens: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        queries = queries + self.attention(tokens, queries)
        return queries + self.feed_forward(queries)


class LocalTokenResampler(ModelMixin, ConfigMixin):
    """Perceiver resampler whose queries carry what the object is and where it goes.

        queries = LayerNorm( MLP( phrase ⊕ Fourier(box) ) )                   (RelationBooth, 3.3)
        tokens  = LayerNorm( W_out · LayerNorm( layers( W_in·features, queries ) ) )      (golden case `resampler`)

    Local tokens l join the image tokens x in one of three ways (RelationBooth, Table 8); l↑ gives each patch the token
    of its cell, and there is no position embedding:

        "concat"    features = [x, l], any number of them (the released adapters'; the paper's best)
        "add"       features = x + l↑
        "linear"    W_in·features + W_local·l↑, one linear projection of [x ⊕ l↑]

    Args:
        embedding_dim: width of the image tokens (1664 for ViT-bigG/14).
        output_dim: C, the UNet's `cross_attention_dim` (2048 for SDXL).
        phrase_embeddings_dim: width of the first text encoder's pooled output (768 for SDXL).
        dim, depth, heads, dim_head, ff_mult: size of the perceiver; defaults are the released adapters'.
        num_queries: L, tokens per object.
        fourier_freqs: F.
        local_injection: see above.
        local_embedding_dim: width of the local tokens, when another encoder than the image tokens' makes them; they
            then have their own input projection W_local. None: `embedding_dim`.
    Raises:
        ValueError: an unknown way, or "add" with two widths.
    """

    @register_to_config
    def __init__(
        self,
        embedding_dim: int = 1664,
        output_dim: int = 2048,
        phrase_embeddings_dim: int = 768,
        dim: int = 1280,
        depth: int = 4,
        heads: int = 20,
        dim_head: int = 64,
        num_queries: int = 16,
        ff_mult: int = 4,
        fourier_freqs: int = 8,
        local_injection: str = "concat",
        local_embedding_dim: int | None = None,
    ):
        super().__init__()
        local_dim = local_embedding_dim or embedding_dim
        if local_injection not in LOCAL_INJECTIONS:
            raise ValueError(
                f"`local_injection` must be one of {', '.join(LOCAL_INJECTIONS)}, got {local_injection!r}."
            )
        if local_injection == "add" and local_dim != embedding_dim:
            raise ValueError(
                f"`local_injection='add'` needs local tokens as wide as the image tokens, got `local_embedding_dim` "
                f"{local_dim} and `embedding_dim` {embedding_dim}. Use 'concat' or 'linear'."
            )
        grounding_dim = phrase_embeddings_dim + 8 * fourier_freqs
        self.proj_in = nn.Linear(embedding_dim, dim)
        self.proj_local = None
        if local_injection == "linear" or local_dim != embedding_dim:
            self.proj_local = nn.Linear(local_dim, dim, bias=False)
        self.grounding_latents = nn.Parameter(torch.randn(1, num_queries, dim) / dim**0.5)
        self.query_proj = nn.Sequential(
            nn.Linear(grounding_dim, 2 * grounding_dim), nn.GELU(), nn.Linear(2 * grounding_dim, num_queries * dim)
        )
        self.query_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(ResamplerLayer(dim, heads, dim_head, ff_mult) for _ in range(depth))
        self.attention_norm = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, output_dim)
        self.norm_out = nn.LayerNorm(output_dim)

    @property
    def local_width(self) -> int:
        return self.config.local_embedding_dim or self.config.embedding_dim

    def join(self, image_tokens: torch.Tensor, local_tokens: torch.Tensor | None) -> torch.Tensor:
        """Both kinds of tokens in the resampler's width: (R, T, D), or (R, T + T', D) for "concat"."""
        if local_tokens is None:
            return self.proj_in(image_tokens)
        if self.config.local_injection == "concat":
            if self.proj_local is None:
                return self.proj_in(torch.cat([image_tokens, local_tokens], dim=1))
            return torch.cat([self.proj_in(image_tokens), self.proj_local(local_tokens)], dim=1)
        spread = local_token_of_each_patch(local_tokens, image_tokens.shape[1])
        if self.config.local_injection == "add":
            return self.proj_in(image_tokens + spread)
        return self.proj_in(image_tokens) + self.proj_local(spread)

    def forward(
        self,
        image_tokens: torch.Tensor,
        phrase_embeds: torch.Tensor,
        boxes: torch.Tensor,
        local_tokens: torch.Tensor | None = None,
        drop_grounding: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            image_tokens: penultimate vision states, class token included, (R, T, embedding_dim).
            phrase_embeds: (R, phrase_embeddings_dim).
            boxes: XYXY in [0, 1], (R, 4), float32 whatever the weights are: half precision moves them by up to 5e-4.
            local_tokens: (R, T', `local_width`), or None.
            drop_grounding: bool, (R,): True replaces the queries by the learned ones (dropout in adapter training).
        Returns:
            Object tokens, (R, L, C).
        """
        features = self.join(image_tokens, local_tokens)
        places = fourier_embedding(boxes, self.config.fourier_freqs).to(phrase_embeds.dtype)
        grounding = torch.cat([phrase_embeds, places], dim=-1)
        queries = self.query_norm(self.query_proj(grounding).unflatten(-1, (self.config.num_queries, -1)))
        if drop_grounding is not None:
            queries = torch.where(drop_grounding[:, None, None], self.grounding_latents, queries)
        for layer in self.layers:
            queries = layer(features, queries)
        return self.norm_out(self.proj_out(self.attention_norm(queries)))
