"""Words bound to characters: tokens, shares, the loss, and what keeps attention able to learn."""

import random
from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from diffusers.models.attention_processor import AttnProcessor

from training.miniature.optimization.muon import LARGEST_LOGIT_NORM, Muon, muon_groups
from training.miniature.stages import base
from training.miniature.stages.binding import (
    AttentionRecorder,
    binding_loss,
    detail_binding_loss,
    detail_tokens,
    phrase_tokens,
)
from training.miniature.stages.latents import character_shares, content_of, draw_scene, drawn
from training.miniature.world.captions import make_caption
from training.miniature.world.identities import named_character
from training.miniature.world.tokenizer import tokenize, write_tokenizer

SEED = 5


def scenes(count):
    return [content_of(draw_scene(index, SEED, "ab", 0.15, annotate=False)) for index in range(count)]


def test_phrase_tokens_are_the_phrases(tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    cat, duck = named_character("cat", "red", accessory="hat"), named_character("duck", "blue", "spotted")
    captions = [make_caption([cat, duck], "hugging", "night"), make_caption([duck], "waving", detail="species")]
    ids = tokenize(tokenizer, [caption.text for caption in captions])
    tokens = phrase_tokens(captions, ids.shape[1])
    for row, caption in enumerate(captions):
        for number, phrase in enumerate(caption.phrases):
            assert tokenizer.decode(ids[row][tokens[row, number]]).strip() == phrase
    assert not tokens[1, 1].any()


def test_shares_are_those_of_the_masks():
    for index in range(4):
        scene = draw_scene(index, SEED, "ab", 0.15)
        shares = torch.from_numpy(character_shares(scene.masks)).float()
        assert [bool(share.any()) for share in shares] == [number < len(scene.characters) for number in range(2)]
        pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(scene.masks).float(), 8)
        torch.testing.assert_close(shares[: len(pooled)], pooled, atol=1e-3, rtol=0)
        assert shares.sum(0).max() <= 1.001, "masks do not overlap"


def test_several_processes_draw_the_same_scenes_in_the_same_order():
    draw = partial(draw_scene, seed=SEED, kinds="ab", unnamed_color_share=0.15)
    alone, shared = (list(drawn(draw, range(3), workers)) for workers in (0, 2))
    for one, other in zip(alone, shared, strict=True):
        assert np.array_equal(one.image, other.image) and np.array_equal(one.masks, other.masks)
    assert not np.array_equal(alone[0].image, alone[1].image)


def test_small_figures_are_a_share_of_the_scenes_and_change_no_others():
    plain, all_small = ([draw_scene(i, SEED, "ab", 0.15, small_share=share) for i in range(12)] for share in (0.0, 1.0))
    assert [content_of(scene) for scene in plain] == [content_of(scene) for scene in all_small]
    height = lambda scene: (scene.boxes[:, 3] - scene.boxes[:, 1]).max()  # noqa: E731
    assert sum(height(small) < 0.75 * height(usual) for small, usual in zip(all_small, plain)) >= 10


def test_a_window_of_the_latents_tells_where_it_lies():
    latents, weights = torch.arange(2 * 16 * 16.0).view(2, 1, 16, 16), torch.rand(2, 16, 16)
    rng, places = random.Random(0), set()
    for _ in range(200):
        (window, weighed), ids = base.random_window((latents, weights), rng)
        original, top, left, target = ids[0, :2].tolist(), *ids[0, 2:4].int().tolist(), ids[0, 4:].tolist()
        assert original == [128, 128] and target == [96, 96] and ids[0].equal(ids[1])
        for seen, whole in ((window, latents), (weighed, weights)):
            assert seen.equal(whole[..., top // 8 : top // 8 + 12, left // 8 : left // 8 + 12])
        places.add((top, left))
    assert {value for place in places for value in place} == {0, 8, 16, 24, 32}


def test_the_loss_is_minus_one_where_each_reads_its_own_phrase_and_one_where_the_other_s():
    shares = torch.zeros(2, 2, 8, 8)
    shares[0, 0, :, :4] = shares[0, 1, :, 4:] = 1
    shares[1, 0] = 1  # a single character binds nothing
    tokens = torch.zeros(2, 2, 6, dtype=torch.bool)
    tokens[:, 0, 1:3] = tokens[:, 1, 4] = True
    maps = torch.zeros(2, 3, 64, 6)
    west = (torch.arange(64) % 8 < 4)[None, None]
    maps[..., 2], maps[..., 4] = west.float(), (~west).float()
    assert binding_loss([maps], tokens, shares).item() == pytest.approx(-1)
    assert binding_loss([maps], tokens.flip(1), shares).item() == pytest.approx(1)
    assert binding_loss([torch.full_like(maps, 1 / 6)], tokens, shares).item() == pytest.approx(0)
    assert binding_loss([maps[1:]], tokens[1:], shares[1:]).item() == 0


def test_the_recorder_sees_every_text_attention_and_changes_nothing():
    torch.manual_seed(0)
    unet = base.build_unet().eval()
    unet.set_attn_processor(AttnProcessor())
    inputs = torch.randn(2, 8, 16, 16), torch.tensor([5, 900]), torch.randn(2, 32, 256)
    added = {"text_embeds": torch.randn(2, 128), "time_ids": base.time_ids(2)}
    with torch.no_grad():
        expected = unet(*inputs, added_cond_kwargs=added).sample
    recorder = AttentionRecorder(unet)
    found = unet(*inputs, added_cond_kwargs=added).sample
    torch.testing.assert_close(found, expected)
    assert len(recorder.maps) == 7
    for scores in recorder.maps:
        torch.testing.assert_close(scores.sum(-1), torch.ones(scores.shape[:-1]))
    recorder.clear()
    with torch.no_grad():
        unet(*inputs, added_cond_kwargs=added)
    assert not recorder.maps, "sample pictures record nothing"


def test_queries_and_keys_stay_bounded():
    """Against a gradient that always points the same way, other weights grow with every step."""
    weights = {"a.to_q.weight": torch.nn.Parameter(torch.eye(8)), "a.to_v.weight": torch.nn.Parameter(torch.eye(8))}
    optimizer, pull = Muon(muon_groups(weights), lr=0.05), torch.randn(8, 8)
    for _ in range(400):
        for weight in weights.values():
            weight.grad = -pull
        optimizer.step()
    bounded, free = (torch.linalg.matrix_norm(weight.detach(), 2).item() for weight in weights.values())
    assert bounded < 1.3 * LARGEST_LOGIT_NORM < 5 < free  # an orthogonalised update has singular values up to 1.2


def test_words_of_fine_attributes_are_found_in_their_own_phrase():
    ringed, plain = named_character("cat", "red", "spotted", "hat", "ring", "up"), named_character("duck", "blue")
    (told,) = detail_tokens([make_caption([plain, ringed], "hugging", "night", "fine")], 16)
    words = "start a blue duck is hugging a red spotted ringbellied upeyed cat".split()
    assert not told[0].any() and told.sum() == 2
    assert told[1, 0, words.index("ringbellied")] and told[1, 1, words.index("upeyed")]


def test_the_loss_of_details_is_none_where_their_words_are_read_enough():
    shares = torch.zeros(2, 2, 2, 16, 16)
    shares[0, 0, 0, :2, :2] = shares[0, 1, 1, 6:8, 6:8] = 1
    tokens = torch.zeros(2, 2, 2, 6, dtype=torch.bool)
    tokens[0, 0, 0, 1] = tokens[0, 1, 1, 4] = True
    tokens[0, 1, 0, 5] = True  # told, and drawn nowhere
    maps = torch.zeros(2, 3, 64, 6)
    assert detail_binding_loss([maps], tokens, shares).item() == pytest.approx(1)
    maps[0, :, 0, 1] = 0.125  # the glyph's own cell, half of what is enough
    assert detail_binding_loss([maps], tokens, shares).item() == pytest.approx(0.75)
    maps[0, :, 0, 1], maps[0, :, 27, 4] = 0.25, 0.9
    assert detail_binding_loss([maps], tokens, shares).item() == pytest.approx(0)
    elsewhere = maps.roll(1, 2)
    assert detail_binding_loss([elsewhere], tokens, shares).item() == pytest.approx(1)
    assert detail_binding_loss([maps[1:]], tokens[1:], shares[1:]).item() == 0
