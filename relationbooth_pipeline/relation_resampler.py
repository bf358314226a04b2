"""LocalTokenResampler: image tokens, local tokens, phrase and box of an object → a few object tokens.

Shape letters: R rows (objects of all samples, sample-major), T image and local tokens, L tokens per object, C context
width of the UNet, D resampler width, F Fourier frequencies.
"""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

FOURIER_TEMPERATURE = 100  # of the released adapters; golden case `resampler`


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

    There is no position embedding: local tokens are simply concatenated to the image tokens, any number of them.

    Args:
        embedding_dim: width of image and local tokens (1664 for ViT-bigG/14).
        output_dim: C, the UNet's `cross_attention_dim` (2048 for SDXL).
        phrase_embeddings_dim: width of the first text encoder's pooled output (768 for SDXL).
        dim, depth, heads, dim_head, ff_mult: size of the perceiver; defaults are the released adapters'.
        num_queries: L, tokens per object.
        fourier_freqs: F.
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
    ):
        super().__init__()
        grounding_dim = phrase_embeddings_dim + 8 * fourier_freqs
        self.proj_in = nn.Linear(embedding_dim, dim)
        self.grounding_latents = nn.Parameter(torch.randn(1, num_queries, dim) / dim**0.5)
        self.query_proj = nn.Sequential(
            nn.Linear(grounding_dim, 2 * grounding_dim), nn.GELU(), nn.Linear(2 * grounding_dim, num_queries * dim)
        )
        self.query_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(ResamplerLayer(dim, heads, dim_head, ff_mult) for _ in range(depth))
        self.attention_norm = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, output_dim)
        self.norm_out = nn.LayerNorm(output_dim)

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
            boxes: XYXY in [0, 1], (R, 4).
            local_tokens: (R, T', embedding_dim), or None.
            drop_grounding: bool, (R,): True replaces the queries by the learned ones (dropout in adapter training).
        Returns:
            Object tokens, (R, L, C).
        """
        features = image_tokens if local_tokens is None else torch.cat([image_tokens, local_tokens], dim=1)
        features = self.proj_in(features)
        grounding = torch.cat([phrase_embeds, fourier_embedding(boxes, self.config.fourier_freqs)], dim=-1)
        queries = self.query_norm(self.query_proj(grounding).unflatten(-1, (self.config.num_queries, -1)))
        if drop_grounding is not None:
            queries = torch.where(drop_grounding[:, None, None], self.grounding_latents, queries)
        for layer in self.layers:
            queries = layer(features, queries)
        return self.norm_out(self.proj_out(self.attention_norm(queries)))
