import torch

from relationbooth_pipeline import LocalTokenResampler
from relationbooth_pipeline.relation_resampler import fourier_embedding


def tiny():
    torch.manual_seed(0)
    return LocalTokenResampler(
        embedding_dim=10, output_dim=12, phrase_embeddings_dim=6, dim=16, depth=2, heads=2, dim_head=8, num_queries=3
    ).eval()


def test_fourier_embedding_matches_a_loop():
    box = [0.1, 0.25, 0.8, 1.0]
    expected = []
    for i in range(3):
        for function in (torch.sin, torch.cos):
            expected += [function(torch.tensor(100 ** (i / 3) * x)) for x in box]
    torch.testing.assert_close(fourier_embedding(torch.tensor(box), 3), torch.stack(expected))


def test_rows_do_not_see_each_other():
    model = tiny()
    image, phrase, box = torch.randn(3, 5, 10), torch.randn(3, 6), torch.rand(3, 4)
    together = model(image, phrase, box)
    for i in range(3):
        torch.testing.assert_close(model(image[i : i + 1], phrase[i : i + 1], box[i : i + 1]), together[i : i + 1])


def test_tokens_have_no_order():
    model = tiny()
    image, phrase, box = torch.randn(1, 5, 10), torch.randn(1, 6), torch.rand(1, 4)
    torch.testing.assert_close(model(image.flip(1), phrase, box), model(image, phrase, box))


def test_local_tokens_are_more_image_tokens():
    model = tiny()
    image, local, phrase, box = torch.randn(1, 5, 10), torch.randn(1, 4, 10), torch.randn(1, 6), torch.rand(1, 4)
    torch.testing.assert_close(model(image, phrase, box, local), model(torch.cat([image, local], 1), phrase, box))


def test_dropped_grounding_ignores_phrase_and_box():
    model = tiny()
    image, phrase, box = torch.randn(2, 5, 10), torch.randn(2, 6), torch.rand(2, 4)
    drop = torch.tensor([True, False])
    first, second = model(image, phrase, box, None, drop), model(image, -phrase, 1 - box, None, drop)
    assert torch.equal(first[0], second[0]) and not torch.allclose(first[1], second[1])


def test_it_saves_and_loads(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    loaded = LocalTokenResampler.from_pretrained(tmp_path)
    arguments = torch.randn(1, 5, 10), torch.randn(1, 6), torch.rand(1, 4)
    assert torch.equal(loaded(*arguments), model(*arguments))
