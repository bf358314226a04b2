import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from relationbooth_pipeline.relation_attention import (
    ParallelAttnProcessor,
    cross_attention_layers,
    install_parallel_attention,
    prepare_parallel_attention,
    remove_parallel_attention,
)
from relationbooth_pipeline.relation_regions import region_masks, token_masks
from relationbooth_pipeline.relation_rows import ImagePromptStates
from tests.tiny import tiny_unet

GRID, TOKENS, WIDTH = (4, 6), 3, 16


@pytest.fixture
def layer():
    torch.manual_seed(0)
    attn = Attention(query_dim=WIDTH, heads=2, dim_head=8, cross_attention_dim=12)
    attn.set_processor(ParallelAttnProcessor())
    attn.processor.layer_index = torch.tensor([0])
    return attn


def inputs(batch=2, objects=2):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(batch, GRID[0] * GRID[1], WIDTH, generator=generator)
    text = torch.randn(batch, 5, 12, generator=generator)
    boxes = torch.tensor([[[0, 0, 0.5, 0.7], [0.4, 0.2, 0.9, 1.0], [0.1, 0.1, 0.3, 0.3]]])[:, :objects]
    regions = region_masks(boxes.expand(batch, -1, -1), *GRID)
    layers = torch.randn(2, 1, batch, objects * TOKENS, WIDTH, generator=generator)
    return hidden, text, layers, regions


def run(layer, hidden, text, layers, regions):
    masks = {GRID[0] * GRID[1]: token_masks(regions, TOKENS)}
    reads = (False,) * (len(hidden) // layers.shape[2] - 1) + (True,)
    return layer(hidden, encoder_hidden_states=text, ip_hidden_states=ImagePromptStates({WIDTH: layers}, masks, reads))


def plain(layer, hidden, text):
    return AttnProcessor2_0()(layer, hidden, encoder_hidden_states=text)


def test_without_image_prompts_it_is_the_stock_processor(layer):
    hidden, text, _, _ = inputs()
    assert torch.equal(layer(hidden, encoder_hidden_states=text), plain(layer, hidden, text))


def test_values_of_zero_give_exactly_the_stock_output(layer):
    hidden, text, layers, regions = inputs()
    layers[1] = 0
    assert torch.equal(run(layer, hidden, text, layers, regions), plain(layer, hidden, text))


def test_positions_outside_every_box_get_exactly_nothing(layer):
    hidden, text, layers, regions = inputs()
    outside = ~regions.any(1).flatten(1)
    result, stock = run(layer, hidden, text, layers, regions), plain(layer, hidden, text)
    assert outside.any() and torch.equal(result[outside], stock[outside])
    assert not torch.isclose(result[~outside], stock[~outside]).all(-1).any()


def test_it_matches_explicit_probabilities(layer):
    hidden, text, layers, regions = inputs()
    allowed = token_masks(regions, TOKENS)[:, 0]

    def attend(query, key, value, mask=None):
        output = torch.zeros_like(query)
        for head in range(2):
            part = slice(head * 8, head * 8 + 8)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / 8**0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -10_000)
            probabilities = scores.softmax(-1)
            if mask is not None:
                probabilities = probabilities * mask.any(-1, keepdim=True)
            output[..., part] = probabilities @ value[..., part]
        return output

    query = layer.to_q(hidden)
    expected = attend(query, layer.to_k(text), layer.to_v(text)) + attend(query, *layers[:, 0], allowed)
    torch.testing.assert_close(run(layer, hidden, text, layers, regions), layer.to_out[0](expected))


def test_the_order_of_objects_does_not_matter(layer):
    hidden, text, layers, regions = inputs(objects=3)
    order = [2, 0, 1]
    permuted = layers.unflatten(3, (3, TOKENS))[:, :, :, order].flatten(3, 4)
    first = run(layer, hidden, text, layers, regions)
    torch.testing.assert_close(run(layer, hidden, text, permuted, regions[:, order]), first)


@pytest.mark.parametrize("reads", [(False, True), (True, False), (True, False, False), (False, True, True)])
def test_exactly_the_parts_that_read_image_prompts_do(layer, reads):
    hidden, text, layers, regions = inputs(batch=6)
    rows = 6 // len(reads)
    masks = {GRID[0] * GRID[1]: token_masks(regions[:rows], TOKENS)}
    states = ImagePromptStates({WIDTH: layers[:, :, :rows]}, masks, reads)
    result = layer(hidden, encoder_hidden_states=text, ip_hidden_states=states)
    for part, is_reading in enumerate(reads):
        own = slice(part * rows, (part + 1) * rows)
        alone = ImagePromptStates({WIDTH: layers[:, :, :rows]}, masks)
        expected = layer(hidden[own], encoder_hidden_states=text[own], ip_hidden_states=alone)
        stock = plain(layer, hidden[own], text[own])
        torch.testing.assert_close(result[own], expected if is_reading else stock)
        assert not torch.allclose(expected, stock)


def test_another_batch_or_grid_is_refused(layer):
    hidden, text, layers, regions = inputs()
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"prepared for 1 × 2 rows, but the UNet received {count}"):
            states = ImagePromptStates({WIDTH: layers}, {24: token_masks(regions, TOKENS)})
            one = hidden[:1].expand(count, -1, -1), text[:1].expand(count, -1, -1)
            layer(one[0], encoder_hidden_states=one[1], ip_hidden_states=states)
    with pytest.raises(ValueError, match="grids of 96, 25 positions, but the UNet has one of 24"):
        states = ImagePromptStates(
            {WIDTH: layers}, {count: torch.ones(1, 1, count, TOKENS).bool() for count in (96, 25)}
        )
        layer(hidden, encoder_hidden_states=text, ip_hidden_states=states)


def test_a_kernel_that_answers_a_fully_masked_row_with_anything_changes_nothing(layer, monkeypatch):
    """cuDNN's does; on a CPU such rows come out as zero, so they are spoilt here."""
    hidden, text, layers, regions = inputs()
    expected = run(layer, hidden, text, layers, regions)
    real = torch.nn.functional.scaled_dot_product_attention

    def spoilt(query, key, value, attn_mask=None, **options):
        output = real(query, key, value, attn_mask=attn_mask, **options)
        return output if attn_mask is None else output.masked_fill(~attn_mask.eq(0).any(-1, keepdim=True), float("nan"))

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spoilt)
    assert torch.equal(run(layer, hidden, text, layers, regions), expected)


def test_half_precision_is_near(layer):
    hidden, text, layers, regions = inputs()
    expected = run(layer, hidden, text, layers, regions)
    result = run(layer.to(torch.bfloat16), hidden.bfloat16(), text.bfloat16(), layers.bfloat16(), regions)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, atol=0.03, rtol=0.03)


def test_gradients_reach_image_tokens_of_covered_positions_only(layer):
    hidden, text, layers, regions = inputs()
    regions[:, 1] = False
    layers.requires_grad_()
    run(layer, hidden, text, layers, regions).square().sum().backward()
    assert layers.grad[..., :TOKENS, :].abs().sum() > 0
    assert layers.grad[..., TOKENS:, :].abs().sum() == 0


def test_installing_leaves_the_state_dict_alone_and_removing_restores_the_processors():
    unet = tiny_unet()
    before = {name: type(p) for name, p in unet.attn_processors.items()}
    keys = list(unet.state_dict())
    install_parallel_attention(unet)
    assert list(unet.state_dict()) == keys
    assert sum(isinstance(p, ParallelAttnProcessor) for p in unet.attn_processors.values()) == len(
        cross_attention_layers(unet)
    )
    remove_parallel_attention(unet)
    assert {name: type(p) for name, p in unet.attn_processors.items()} == before


def test_replaced_processors_are_noticed():
    unet = tiny_unet()
    install_parallel_attention(unet)
    prepare_parallel_attention(unet, "cpu")
    unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(ValueError, match="AttnProcessor2_0, which would ignore `image_prompts`"):
        prepare_parallel_attention(unet, "cpu")
