"""What each cross-attention layer reads: its own K and V, γ on V alone, the text it is shown."""

import pytest
import torch

from relationbooth_pipeline.relation_attention import cross_attention_layers, install_parallel_attention
from relationbooth_pipeline.relation_layouts import AutomaticLayout
from relationbooth_pipeline.relation_regions import region_masks, token_masks
from relationbooth_pipeline.relation_rows import ImagePromptStates
from tests.tiny import TEXT_WIDTH, VISION_WIDTH, tiny_adapter, tiny_unet

BOXES = torch.tensor([[[0.0, 0.1, 0.6, 0.9], [0.4, 0.0, 0.8, 0.7]], [[0.2, 0.2, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]])
SCALES = torch.tensor([[0.6, 0.9], [0.3, 0.7]])
PRESENT = torch.tensor([[True, True], [True, False]])
SIZE = (6, 10)  # of the latents: neither square nor, at the second level, even


def world(**changes):
    """(UNet with layers of two widths, several of each, an adapter for it, the adapter's inputs)."""
    unet = tiny_unet(
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    install_parallel_attention(unet)
    adapter = tiny_adapter(unet, **changes)
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 2, 5, VISION_WIDTH, generator=generator)
    phrase = torch.randn(2, 2, TEXT_WIDTH, generator=generator)
    return unet, adapter, (image, phrase, BOXES, SCALES)


def object_tokens(adapter, image, phrase, boxes, scales):
    """((B, N·L, C) tokens of the objects, (B, N·L) γ of each), sample by sample and object by object."""
    rows, weights = [], []
    for b in range(len(boxes)):
        own = [adapter.resampler(image[b, n : n + 1], phrase[b, n : n + 1], boxes[b, n : n + 1])[0] for n in range(2)]
        rows.append(torch.cat(own))
        weights.append([scales[b, n].item() for n in range(2) for _ in own[n]])
    return torch.stack(rows), torch.tensor(weights)


def attend(query, key, value, heads, allowed=None):
    """softmax(QKᵀ/√d)V head by head; (P, ·) each, allowed bool (P, S); a row that may read nothing gets zero."""
    parts = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1)):
        scores = q @ k.T / q.shape[-1] ** 0.5
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -1e4)
        part = scores.softmax(-1) @ v
        parts.append(part if allowed is None else part * allowed.any(-1, keepdim=True))
    return torch.cat(parts, -1)


@pytest.mark.parametrize("active", [False, True])
@torch.no_grad()
def test_every_layer_reads_its_own_key_and_value(active):
    """Each layer of a UNet by Eq. 4 from the adapter's matrices of that layer's own name. Background tokens, when they
    act, are read outside every box with the largest γ of the sample's objects."""
    unet, adapter, given = world(background_tokens_active=active)
    layers = adapter(*given)
    masks = adapter.attention_masks(BOXES, PRESENT, *SIZE, levels=2)
    seen = {}

    def look(path):
        return lambda attn, args, kwargs, output: seen.__setitem__(path, (args[0], kwargs, output))

    for path in cross_attention_layers(unet):
        unet.get_submodule(path).register_forward_hook(look(path), with_kwargs=True)
    generator = torch.Generator().manual_seed(2)
    text = torch.randn(2, 7, 2 * TEXT_WIDTH, generator=generator)
    added = {"text_embeds": torch.randn(2, TEXT_WIDTH, generator=generator), "time_ids": torch.zeros(2, 6)}
    states = {"ip_hidden_states": ImagePromptStates(layers, masks)}
    latents = torch.randn(2, 4, *SIZE, generator=generator)
    unet(latents, 500, text, added_cond_kwargs=added, cross_attention_kwargs=states)

    tokens, weights = object_tokens(adapter, *given)
    widths = list(cross_attention_layers(unet).values())
    assert len(seen) == len(widths) and min(widths.count(16), widths.count(32)) >= 3
    grids = {60: (6, 10), 15: (3, 5)}
    for path, (hidden, _, output) in seen.items():
        attn, own = unet.get_submodule(path), adapter.layers[path.replace(".", "-")]
        for b in range(2):
            query = attn.to_q(hidden[b])
            height, width = grids[len(query)]
            allowed = []
            for row in range(height):
                for column in range(width):
                    cell = []
                    for n in range(2):
                        x0, y0, x1, y1 = (round(edge, 3) for edge in BOXES[b, n].tolist())
                        across = column < x1 * width and column + 1 > x0 * width
                        down = row < y1 * height and row + 1 > y0 * height
                        cell += [across and down and PRESENT[b, n].item()] * adapter.tokens_per_object
                    allowed.append(([not any(cell)] * 4 if active else []) + cell)
            read, gamma = tokens[b], weights[b]
            if active:
                read = torch.cat([adapter.background_tokens[0], read])
                gamma = torch.cat([gamma.max().repeat(4), gamma])
            key, value = own.to_k(read), gamma[:, None] * own.to_v(read)
            mixed = attend(query, attn.to_k(text[b]), attn.to_v(text[b]), attn.heads)
            mixed = mixed + attend(query, key, value, attn.heads, torch.tensor(allowed))
            torch.testing.assert_close(output[b], attn.to_out[0](mixed), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_image_scale_multiplies_values_and_never_keys():
    unet, adapter, (image, phrase, boxes, scales) = world()
    once = adapter(image, phrase, boxes, torch.ones_like(scales))
    scaled = adapter(image, phrase, boxes, scales)
    paths = list(cross_attention_layers(unet))
    factors = {path: 0.1 * (i + 1) for i, path in enumerate(paths)}
    by_layer = adapter(image, phrase, boxes, scales, layer_scales=factors)
    gamma = torch.tensor([[0.6] * 4 + [0.9] * 4, [0.3] * 4 + [0.7] * 4])  # γ of each object's four tokens
    for width, layers in once.items():
        own = [path for path in paths if cross_attention_layers(unet)[path] == width]
        for i, path in enumerate(own):
            assert torch.equal(scaled[width][0, i], layers[0, i]) and torch.equal(by_layer[width][0, i], layers[0, i])
            expected = gamma[..., None] * layers[1, i]
            torch.testing.assert_close(scaled[width][1, i], expected)
            torch.testing.assert_close(by_layer[width][1, i], factors[path] * expected)


@torch.no_grad()
def test_grounding_is_dropped_for_all_objects_of_a_sample_and_for_no_others():
    """Queries without grounding know neither phrase nor box, so every object's tokens tell whether it was dropped."""
    _, adapter, (image, phrase, boxes, scales) = world()
    drop = torch.tensor([True, False])
    before = adapter(image, phrase, boxes, scales, drop_grounding=drop)
    after = adapter(image, phrase + 1, boxes, scales, drop_grounding=drop)
    for width in before:
        same = (before[width] == after[width]).all(-1).all(0).all(0).unflatten(1, (2, 4)).all(-1)
        assert same.tolist() == [[True, True], [False, False]]


@torch.no_grad()
def test_text_that_is_masked_stays_unread_beside_image_prompts():
    unet, adapter, given = world()
    path, width = next(iter(cross_attention_layers(unet).items()))
    attn = unet.get_submodule(path)
    states = ImagePromptStates(adapter(*given), {15: token_masks(region_masks(BOXES, 3, 5), 4)})
    hidden, text = torch.randn(2, 15, width), torch.randn(2, 7, 2 * TEXT_WIDTH)
    bias = torch.zeros(2, 1, 7)
    bias[..., 4:] = -1e4

    def run(text):
        return attn(hidden, text, attention_mask=bias, ip_hidden_states=states)

    other = torch.cat([text[:, :4], torch.randn(2, 3, 2 * TEXT_WIDTH)], 1)
    torch.testing.assert_close(run(text), run(other))
    assert not torch.allclose(run(text), attn(hidden, text, ip_hidden_states=states))


def test_no_kernel_is_given_a_row_that_may_read_nothing(monkeypatch):
    """Its answer, and above all its gradient, would be the kernel's choice; a NaN times zero stays NaN."""
    unet, adapter, given = world()
    masks = adapter.attention_masks(BOXES, PRESENT, *SIZE, levels=2)
    assert not all(mask.any(-1).all() for mask in masks.values())
    real, closed = torch.nn.functional.scaled_dot_product_attention, []

    def kernel(query, key, value, attn_mask=None, **options):
        closed.append(attn_mask is not None and not attn_mask.eq(0).any(-1).all())
        return real(query, key, value, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", kernel)
    added = {"text_embeds": torch.zeros(2, TEXT_WIDTH), "time_ids": torch.zeros(2, 6)}
    states = {"ip_hidden_states": ImagePromptStates(adapter(*given), masks)}
    with torch.no_grad():
        unet(torch.zeros(2, 4, *SIZE), 500, torch.zeros(2, 7, 2 * TEXT_WIDTH), added_cond_kwargs=added,
             cross_attention_kwargs=states)  # fmt: skip
    assert closed and not any(closed)


class Recorder(AutomaticLayout):
    """Keeps the text probabilities that it is given."""

    def masks(self, layer, text_probabilities):
        self.seen = text_probabilities
        return super().masks(layer, text_probabilities)


@pytest.mark.parametrize("largest", [8.0, 150_000.0])
@pytest.mark.parametrize("reads, part", [((True,), 0), ((False, True), 1), ((True, False), 0), ((True, True), 0)])
@torch.no_grad()
def test_automatic_layout_sees_the_first_reading_part_s_text_probabilities(reads, part, largest):
    """In float16 too, where a product of 150,000 is infinite although the score, its √d-th part, is not."""
    unet, adapter, _ = world()
    path, width = next(iter(cross_attention_layers(unet).items()))
    attn = unet.get_submodule(path)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(len(reads), 15, width, generator=generator).half()
    text = torch.randn(len(reads), 7, 2 * TEXT_WIDTH, generator=generator).half()
    attn.to_q.weight.mul_(largest / products(attn, hidden[part].float(), text[part].float()).abs().max())
    attn.to(torch.float16)
    boxes = {15: torch.ones(1, 1, 15, 4, dtype=torch.bool)}
    layout = Recorder(torch.tensor([[[1, 3]]]), boxes, mask_threshold=0.5, start_step=9, tokens_per_object=4)
    states = ImagePromptStates({width: torch.zeros(2, 9, 1, 4, width).half()}, layout, reads)
    attn(hidden, text, ip_hidden_states=states)
    scores = products(attn, hidden[part], text[part]) / (width // attn.heads) ** 0.5
    expected = scores.softmax(-1).float()
    # Where scores reach tens of thousands float16 is 32 apart, so there only clear winners are compared.
    clear = scores.topk(2).values.diff(dim=-1).abs()[..., 0] > largest / 1000
    assert clear.float().mean() > 0.6
    torch.testing.assert_close(layout.seen[0][clear], expected[clear], atol=3e-3, rtol=0)


def products(attn, hidden, text):
    """QKᵀ head by head, (H, P, T), in float64."""
    query, key = (x.double().chunk(attn.heads, -1) for x in (attn.to_q(hidden), attn.to_k(text)))
    return torch.stack([q @ k.T for q, k in zip(query, key)])
