import dataclasses

import pytest
import torch

from relationbooth_pipeline.relation_images import open_image
from relationbooth_pipeline.relation_rows import UNGUIDED, ImagePromptStates
from relationbooth_pipeline.triplets import read_triplets
from tests.tiny import tiny_pipeline
from tests.tiny_training import save_triplets
from training.common.options import ViewOptions
from training.lora.cache import collate, encode_triplets, image_prompt_pixels, predicate_span


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def triplets(tmp_path_factory):
    return read_triplets(save_triplets(tmp_path_factory.mktemp("triplets")))


@pytest.fixture(scope="module")
def cached(pipe, triplets):
    return encode_triplets(pipe, triplets, ViewOptions(64, views_per_triplet=2), seed=0)


def predict(unet, batch, seed=0):
    """The UNet's output for every sample, with noise that depends on the sample's place only."""
    noisy = torch.randn(len(batch.name), *batch.latent_mean.shape[1:], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return unet(
            noisy,
            torch.full((len(noisy),), 500),
            encoder_hidden_states=batch.text,
            added_cond_kwargs={"text_embeds": batch.pooled, "time_ids": batch.time_ids},
            cross_attention_kwargs={
                "ip_hidden_states": ImagePromptStates(batch.ip_hidden_states, batch.ip_adapter_masks)
            },
        ).sample


def test_the_same_seed_gives_the_same_views(pipe, triplets, cached):
    def first(seed):
        return encode_triplets(pipe, triplets[:1], ViewOptions(64, views_per_triplet=2), seed=seed)[0][0].latent_mean

    assert torch.equal(first(seed=0), cached[0][0].latent_mean)
    assert not torch.equal(first(seed=1), cached[0][0].latent_mean)


def test_conditioning_is_that_of_inference(pipe, triplets):
    triplet = triplets[1]  # 64 × 64: its central crop is the whole picture
    ((view,),) = encode_triplets(pipe, [triplet], ViewOptions(64, center_crop=True), 0, image_prompt_scale=0.4)
    text, _, pooled, _ = pipe.encode_prompt(triplet.prompt, do_classifier_free_guidance=False)
    assert torch.equal(view.text, text) and torch.equal(view.pooled, pooled)
    expected = pipe.image_prompt_kwargs(
        triplet.image_prompts,
        triplet.phrases,
        boxes=triplet.boxes.tolist(),
        image_prompt_scale=0.4,
        latent_height=8,
        latent_width=8,
        roles=UNGUIDED,
    )["ip_hidden_states"]
    torch.testing.assert_close(view.ip_hidden_states, expected.layers)
    assert {p: m.tolist() for p, m in view.ip_adapter_masks.items()} == {
        p: m.tolist() for p, m in expected.masks_of(8, 8).items()
    }
    assert view.time_ids.tolist() == [[64, 64, 0, 0, 64, 64]]


def test_a_batch_of_different_counts_equals_its_samples_alone(pipe, tmp_path):
    """The padding of samples with fewer objects is invisible to the UNet."""
    triplets = read_triplets(save_triplets(tmp_path, sizes=((64, 64),) * 3, counts=(2, 1, 3)))
    views = [views[0] for views in encode_triplets(pipe, triplets, ViewOptions(64), seed=0)]
    together = predict(pipe.unet, collate(views))
    for index, view in enumerate(views):
        torch.testing.assert_close(together[index], predict(pipe.unet, collate([view] * 3))[index], atol=1e-5, rtol=0)


def test_keypoint_features_are_the_prompts_latents(pipe, triplets, cached):
    triplet, view = triplets[0], cached[0][0]
    for n, file in enumerate(triplet.image_prompts):
        pixels = image_prompt_pixels(open_image(file), 64)
        latents = pipe.vae.encode(pixels).latent_dist.mean[0] * pipe.vae.config.scaling_factor
        height, width = latents.shape[-2:]
        for k, (x, y, _) in enumerate(triplet.image_prompt_keypoints[n].tolist()):
            expected = latents[:, min(int(y * height), height - 1), min(int(x * width), width - 1)]
            torch.testing.assert_close(view.prompt_features[0, n, k], expected, atol=1e-5, rtol=1e-5)


def test_image_prompts_keep_their_shape(triplets):
    pixels = image_prompt_pixels(open_image(triplets[0].image_prompts[0]), 64)  # 50 × 40
    assert pixels.shape == (1, 3, 56, 72)
    assert pixels.min() >= -1 and pixels.max() <= 1


def test_invisible_in_either_is_invisible(pipe, triplets):
    triplet = triplets[0]
    triplet.keypoints[0, 3, 2] = 0
    triplet.image_prompt_keypoints[1, 5, 2] = 0
    ((view,),) = encode_triplets(pipe, [triplet], ViewOptions(64, center_crop=True), 0)
    assert not view.is_visible[0, 0, 3] and not view.is_visible[0, 1, 5] and view.is_visible[0, 0, 5]


@pytest.mark.parametrize(
    "prompt, predicate, span",
    [
        ("a cat is hugging a bear", "hugging", (4, 5)),
        ('a "cat" is hugging; a bear', "Is Hugging", (5, 7)),  # quotes are tokens of their own
        ("a red-cat is on a bear", "is on", (5, 7)),
    ],
)
def test_the_predicate_s_tokens(pipe, triplets, prompt, predicate, span):
    assert predicate_span(pipe, dataclasses.replace(triplets[0], prompt=prompt, predicate=predicate)) == span


@pytest.mark.parametrize("prompt", ["a cat is hugging a bear", "a " * 80 + "hug", ""])
def test_a_predicate_without_tokens_of_its_own_is_refused(pipe, triplets, prompt):
    triplet = dataclasses.replace(triplets[0], prompt=prompt, predicate="hug")
    with pytest.raises(ValueError, match="line 1: the predicate 'hug' must be whole words among the first 77 tokens"):
        predicate_span(pipe, triplet)


def test_a_predicate_of_three_vectors_has_three_tokens(triplets):
    pipe = tiny_pipeline(adapter=False)
    for encoder, tokenizer in ((pipe.text_encoder, pipe.tokenizer), (pipe.text_encoder_2, pipe.tokenizer_2)):
        pipe.load_textual_inversion(torch.randn(3, 32), token="<rel>", text_encoder=encoder, tokenizer=tokenizer)
    triplet = dataclasses.replace(triplets[0], prompt="a cat <rel> a bear", predicate="<rel>")
    assert predicate_span(pipe, triplet) == (3, 6)
