"""Binds words to characters while the base trains: where a character is seen, its own phrase is read, not the other's.

Without it the two characters of a pair exchange colours and species: the text encoders are small, and nothing but the
denoising error says which word belongs where. The idea is FastComposer's localised attention (Xiao et al., 2023), with
the exact masks of the world. Nothing of it remains in the trained model.
"""

import torch
import torch.nn.functional as F

from relationbooth_pipeline.relation_attention import cross_attention_layers

from ..world.captions import glyph_word, pupils_word
from ..world.identities import GLYPHS, PUPILS
from .attributes import FINE_ATTRIBUTES

# {word: number of its fine attribute}, in the order of `FINE_ATTRIBUTES`
DETAIL_WORDS = {**dict.fromkeys(map(glyph_word, GLYPHS), 0), **dict.fromkeys(map(pupils_word, PUPILS), 1)}
LEAST_READ = 0.25  # of the attention where a fine attribute is drawn; all of it would leave none for the colour there


def words_of_phrases(captions):
    """(row, number of the character, place of the token, word) of each word of each phrase.

    A word of the world is one token; the start token is first.
    """
    for row, caption in enumerate(captions):
        for number, (start, end) in enumerate(caption.phrase_spans):
            first = 1 + len(caption.text[:start].split())
            for place, word in enumerate(caption.text[start:end].split(), first):
                yield row, number, place, word


def phrase_tokens(captions, length):
    """Which tokens name which character, bool (B, 2, T)."""
    return _marked([(row, number, place) for row, number, place, _ in words_of_phrases(captions)], captions, 2, length)


def detail_tokens(captions, length):
    """Which token names which fine attribute of which character, bool (B, 2, 2, T)."""
    told = [
        (row, number, DETAIL_WORDS[word], place)
        for row, number, place, word in words_of_phrases(captions)
        if word in DETAIL_WORDS
    ]
    return _marked(told, captions, 2, len(FINE_ATTRIBUTES), length)


def _marked(places, captions, *shape):
    """bool (B, *shape), True at `places`; set at once, for one by one takes longer than a GPU's step."""
    marks = torch.zeros(len(captions), *shape, dtype=torch.bool)
    if places:
        marks[tuple(torch.tensor(places).T)] = True
    return marks


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
        maps: of `AttentionRecorder`. tokens: of `phrase_tokens`. shares: (B, 2, 8, 8), of `character_shares`.
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
