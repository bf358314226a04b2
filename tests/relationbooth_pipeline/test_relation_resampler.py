import pytest
import torch

from relationbooth_pipeline import LocalTokenResampler
from relationbooth_pipeline.relation_image_encoder import grid_boxes
from relationbooth_pipeline.relation_resampler import fourier_embedding, local_token_of_each_patch


def tiny(**config):
    torch.manual_seed(0)
    sizes = {"embedding_dim": 10, "output_dim": 12, "phrase_embeddings_dim": 6, "dim": 16, "depth": 2, "heads": 2}
    return LocalTokenResampler(**sizes, dim_head=8, num_queries=3, **config).eval()


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


@pytest.mark.parametrize(("grid", "side"), [(2, 4), (3, 4), (4, 4), (1, 3)])
def test_each_patch_gets_the_token_of_its_cell(grid, side):
    """By the boxes of `grid_boxes`, whose order the encoder's tokens have: the cell that holds the patch's corner."""
    local = torch.randn(2, grid * grid, 10)
    found = local_token_of_each_patch(local, 1 + side * side)
    assert not found[:, 0].any()
    for row in range(side):
        for column in range(side):
            x, y = (column + 1e-3) / side, (row + 1e-3) / side
            cell = [i for i, (x0, y0, x1, y1) in enumerate(grid_boxes(grid)) if x0 <= x < x1 and y0 <= y < y1]
            assert torch.equal(found[:, 1 + row * side + column], local[:, cell[0]])


def test_injections_are_their_formulas():
    image, local, phrase, box = torch.randn(2, 10, 10), torch.randn(2, 4, 10), torch.randn(2, 6), torch.rand(2, 4)
    spread = local_token_of_each_patch(local, 10)
    model = tiny(local_injection="add")
    torch.testing.assert_close(model(image, phrase, box, local), model(image + spread, phrase, box))
    model = tiny(local_injection="linear")
    joint = torch.cat([model.proj_in.weight, model.proj_local.weight], 1)
    expected = torch.cat([image, spread], -1) @ joint.T + model.proj_in.bias
    torch.testing.assert_close(model.join(image, local), expected)


def test_local_tokens_of_another_width_have_their_own_projection():
    model = tiny(local_embedding_dim=7)
    image, local = torch.randn(1, 5, 10), torch.randn(1, 4, 7)
    joined = model.join(image, local)
    assert joined.shape == (1, 9, 16) and model.local_width == 7
    torch.testing.assert_close(joined[:, 5:], local @ model.proj_local.weight.T)


@pytest.mark.parametrize("config", [{}, {"local_injection": "add"}, {"local_injection": "linear"}])
def test_without_local_tokens_all_injections_are_the_plain_resampler(config):
    arguments = torch.randn(1, 10, 10), torch.randn(1, 6), torch.rand(1, 4)
    model, plain = tiny(**config), tiny()
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    assert torch.equal(model(*arguments), plain(*arguments))


def test_injections_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="must be one of concat, add, linear, got 'sum'"):
        tiny(local_injection="sum")
    with pytest.raises(ValueError, match="as wide as the image tokens.*Use 'concat' or 'linear'"):
        tiny(local_injection="add", local_embedding_dim=7)
    with pytest.raises(ValueError, match="must be k·k of them, got 3.*takes any number"):
        tiny(local_injection="add").join(torch.randn(1, 10, 10), torch.randn(1, 3, 10))


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
