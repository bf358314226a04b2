"""Binds words to characters while the base trains: where a character is seen, its own phrase is read, not the other's.

Without it the two characters of a pair exchange colours and species: the text encoders are small, and nothing but the
denoising error says which word belongs where. The idea is FastComposer's localised attention (Xiao et al., 2023), with
the exact masks of the world. Nothing of it remains in the trained model.
"""

from functools import partial

import torch
import torch.nn.functional as F
from tqdm import tqdm

from relationbooth_pipeline.relation_attention import cross_attention_layers
from relationbooth_pipeline.relation_files import whole_file

from ..world.captions import glyph_word, pupils_word
from ..world.identities import GLYPHS, PUPILS
from .latents import check_same, draw_scene, drawn

DETAIL_WORDS = ({*map(glyph_word, GLYPHS)}, {*map(pupils_word, PUPILS)})  # in the order of `FINE_ATTRIBUTES`
LEAST_READ = 0.25  # of the attention where a fine attribute is drawn; all of it would leave none for the colour there
GRID = 8  # cells a side: the finest cross-attention of the miniature's UNet


def character_shares(path, scenes, kinds, seed, unnamed_color_share=0.15, workers=0):
    """How much of each cell each character covers, kept in the file `path`.

    Args:
        scenes, kinds, seed, unnamed_color_share: of `scene_latents`; the same draws give the same scenes again.
        workers: processes that draw them.
    Returns:
        (scenes, 2, 8, 8) float16 in [0, 1]; zeros where there is no second character.
    """
    if path.exists():
        return torch.load(path, weights_only=True)
    shares = torch.zeros(len(scenes), 2, GRID, GRID, dtype=torch.float16)
    draw = partial(draw_scene, seed=seed, kinds=kinds, unnamed_color_share=unnamed_color_share)
    drawing = tqdm(drawn(draw, range(len(scenes)), workers), "rendering masks", len(scenes), mininterval=10)
    for index, scene in enumerate(drawing):
        check_same(scene, scenes[index], index)
        masks = torch.from_numpy(scene.masks).float()
        shares[index, : len(masks)] = F.adaptive_avg_pool2d(masks, GRID).half()
    with whole_file(path) as temporary:
        torch.save(shares, temporary)
    return shares


def phrase_tokens(captions, length):
    """Which tokens name which character, bool (B, 2, T). A word of the world is one token; the start token is first."""
    result = torch.zeros(len(captions), 2, length, dtype=torch.bool)
    for row, caption in enumerate(captions):
        for number, (start, end) in enumerate(caption.phrase_spans):
            first = 1 + len(caption.text[:start].split())
            result[row, number, first : first + len(caption.text[start:end].split())] = True
    return result


def detail_tokens(captions, length):
    """Which token names which fine attribute of which character, bool (B, 2, 2, T)."""
    result = torch.zeros(len(captions), 2, len(DETAIL_WORDS), length, dtype=torch.bool)
    for row, caption in enumerate(captions):
        for number, (start, end) in enumerate(caption.phrase_spans):
            first = 1 + len(caption.text[:start].split())
            for place, word in enumerate(caption.text[start:end].split(), first):
                for kind, words in enumerate(DETAIL_WORDS):
                    result[row, number, kind, place] = word in words
    return result


class AttentionRecorder:
    """Keeps the attention probabilities of every text cross-attention of a UNet with `AttnProcessor`s.

    Attributes:
        maps: since `clear`, (B, heads, P, T) of each layer.
    """

    def __init__(self, unet):
        self.maps = []
        for path in cross_attention_layers(unet):
            layer = unet.get_submodule(path)
            layer.get_attention_scores = self._recorded(layer)

    def clear(self):
        self.maps = []

    def _recorded(self, layer):
        compute = layer.get_attention_scores

        def get_attention_scores(query, key, attention_mask=None):
            scores = compute(query, key, attention_mask)
            if torch.is_grad_enabled():  # sample pictures record nothing
                self.maps.append(scores.unflatten(0, (-1, layer.heads)))
            return scores

        return get_attention_scores


def binding_loss(maps, tokens, shares):
    """How much each character's phrase is read where the other is seen, rather than where itself is.

        mean over layers, pairs and characters of  a_n(other) − a_n(own)

    a_n(region): attention to the tokens of phrase n, summed over them, averaged over heads and over the region's cells.

    Args:
        maps: of `AttentionRecorder`. tokens: of `phrase_tokens`. shares: (B, 2, 8, 8).
    Returns:
        Scalar in [−1, 1]; 0 when there is no pair.
    """
    pairs = shares.flatten(2).sum(-1).gt(0).all(1).float()
    tokens, losses = tokens.float(), []
    for scores in maps:
        read = torch.einsum("bhpt,bnt->bnp", scores.float(), tokens) / scores.shape[1]
        side = round(read.shape[-1] ** 0.5)
        region = F.adaptive_avg_pool2d(shares, side).flatten(2)
        region = region / region.sum(-1, keepdim=True).clamp(min=1e-6)
        losses.append((read * (region.flip(1) - region)).sum(-1).mean(1))
    return (torch.stack(losses).mean(0) * pairs).sum() / pairs.sum().clamp(min=1)


def detail_binding_loss(maps, tokens, shares):
    """How far the word of a fine attribute is from being read where the attribute is drawn.

        mean over layers and told attributes of  max(0, 1 − a(own place) / LEAST_READ)

    Without it nobody reads these words: one of thirty tokens, for one cell of a hundred (900 steps changed nothing).

    Args:
        maps: of `AttentionRecorder`. tokens: of `detail_tokens`. shares: (B, 2, 2, h, w), of `detail_shares`.
    Returns:
        Scalar in [0, 1]; 0 when none is told.
    """
    told = (tokens.any(-1) & shares.flatten(3).sum(-1).gt(0)).float()
    tokens, losses = tokens.float(), []
    for scores in maps:
        read = torch.einsum("bhpt,bnkt->bnkp", scores.float(), tokens) / scores.shape[1]
        side = round(read.shape[-1] ** 0.5)
        region = F.adaptive_avg_pool2d(shares.flatten(0, 2), side).view(*read.shape)
        region = region / region.sum(-1, keepdim=True).clamp(min=1e-6)
        losses.append((1 - (read * region).sum(-1) / LEAST_READ).clamp(min=0))
    return (torch.stack(losses).mean(0) * told).sum() / told.sum().clamp(min=1)
