"""Laws of whole generations and of the encoding steps before them."""

import pytest
import torch

from relationbooth_pipeline import LocalTokenResampler
from relationbooth_pipeline.relation_images import clip_pixels
from tests.relationbooth_pipeline.whole.test_pipeline_call import TWO, generate
from tests.tiny import photo, tiny_pipeline


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.mark.parametrize("steps, start", [(5, 2), (3, 1), (1, 1), (12, 5)])
def test_automatic_layout_starts_by_half_of_the_steps(pipe, steps, start):
    """Without boxes nothing acts before; the default is step 5."""
    options = {"automatic_layout": True, "num_inference_steps": steps}
    found = generate(pipe, **TWO, **options)
    assert torch.equal(found, generate(pipe, **TWO, **options, layout_start_step=start))
    if steps > 1:
        assert not torch.equal(found, generate(pipe, **TWO, **options, boxes=[[0, 0, 1, 1]] * 2))


@torch.no_grad()
def test_encoded_image_prompts_are_penultimate_states_pooled_phrases_and_local_tokens(pipe):
    """Of each object alone, in its place; zeros where a sample has fewer objects."""
    images, phrases = [[photo(1), photo(2)], [photo(3)]], [["cat", "red bear"], ["dog"]]
    encoded = pipe.encode_image_prompts(images, phrases, batch_size=2)
    assert encoded.present.tolist() == [[True, True], [True, False]] and encoded.counts == [2, 1]
    for b, n in encoded.present.nonzero().tolist():
        pixels = clip_pixels([images[b][n]], 28, 64)
        states = pipe.image_prompt_encoder(pixels, output_hidden_states=True).hidden_states
        assert len(states) == 4  # embeddings and three blocks
        torch.testing.assert_close(encoded.image_tokens[b, n], states[2][0], atol=1e-5, rtol=1e-5)
        local = pipe.local_image_encoder(clip_pixels([images[b][n]], 112, 64), grid=4)
        torch.testing.assert_close(encoded.local_tokens[b, n], local[0], atol=1e-5, rtol=1e-5)
        ids = pipe.tokenizer(phrases[b][n], padding="max_length", max_length=77, return_tensors="pt").input_ids
        pooled = pipe.text_encoder(ids).pooler_output
        torch.testing.assert_close(encoded.phrase_embeds[b, n], pooled[0], atol=1e-5, rtol=1e-5)
    for tensor in (encoded.image_tokens, encoded.local_tokens, encoded.phrase_embeds):
        assert not tensor[1, 1].any()


@torch.no_grad()
def test_local_tokens_add_patch_by_patch_in_the_linear_injection():
    """Each way of joining, by its formula, token by token."""
    torch.manual_seed(0)
    local, image = torch.randn(1, 4, 32), torch.randn(1, 5, 32)
    for way in ("concat", "add", "linear"):
        resampler = {"dim": 32, "depth": 1, "heads": 4, "dim_head": 8, "num_queries": 4, "local_injection": way}
        model = tiny_resampler(resampler)
        own = [model.proj_in(token) for token in image[0]]
        cells = [None, local[0, 0], local[0, 2], local[0, 1], local[0, 3]]  # columns first; the class token has none
        for t, cell in enumerate(cells):
            if way == "add" and cell is not None:
                own[t] = model.proj_in(image[0, t] + cell)
            if way == "linear" and cell is not None:
                own[t] = own[t] + model.proj_local(cell)
        if way == "concat":
            own += [model.proj_in(token) for token in local[0]]
        torch.testing.assert_close(model.join(image, local)[0], torch.stack(own), atol=1e-5, rtol=1e-5)


def tiny_resampler(config):
    return LocalTokenResampler(embedding_dim=32, output_dim=64, phrase_embeddings_dim=32, **config).eval()


def test_image_prompts_are_normalised_by_clip_s_own_numbers():
    grey, white = (photo().convert("L").point(lambda _, v=v: v).convert("RGB") for v in (0, 255))
    dark, light = clip_pixels([grey, white], 28, 64)
    # (0 − mean)/std and (1 − mean)/std of OpenAI's CLIP
    for channel, (low, high) in enumerate([(-1.79226, 1.93034), (-1.75210, 2.07488), (-1.48022, 2.14590)]):
        torch.testing.assert_close(dark[channel], torch.full((28, 28), low), atol=1e-4, rtol=0)
        torch.testing.assert_close(light[channel], torch.full((28, 28), high), atol=1e-4, rtol=0)
