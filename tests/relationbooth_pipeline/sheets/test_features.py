"""Feature pictures show structure that is known beforehand."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.relation_images import clip_pixels
from relationbooth_pipeline.sheets.features import PANEL, dense_map, feature_panels, principal_colors, token_map
from relationbooth_pipeline.sheets.png_settings import read_png_settings
from tests.tiny import photo, tiny_vision


def halves(side: int) -> Image.Image:
    """Left half red, right half blue."""
    values = np.zeros((side, side, 3), np.uint8)
    values[:, : side // 2, 0] = values[:, side // 2 :, 2] = 255
    return Image.fromarray(values)


def local_tower() -> LocalImageEncoder:
    """A tower whose features depend on their own patch alone: no positions, no attention."""
    tower = tiny_vision(LocalImageEncoder)
    with torch.no_grad():
        tower.vision_model.embeddings.position_embedding.weight.zero_()
        for layer in tower.vision_model.encoder.layers:
            layer.self_attn.out_proj.weight.zero_()
    return tower


def test_two_flat_halves_give_two_colors():
    colors = principal_colors(dense_map(local_tower(), halves(112), 112))
    left, right = colors[:, :4].flatten(0, 1), colors[:, 4:].flatten(0, 1)
    assert colors.shape == (8, 8, 3)
    for half in (left, right):
        torch.testing.assert_close(half, half[:1].expand_as(half), atol=1e-3, rtol=0)
    assert (left[0] - right[0]).abs().tolist() == pytest.approx([1, 0, 0], abs=1e-3)
    assert left[0, 1:].tolist() == [0.5, 0.5], "one component tells the halves apart; the others are noise"


def test_components_are_those_of_a_slow_reference():
    features = torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7).view(6, 1, 1)
    rows = features.flatten(1).T.numpy().astype(np.float64)
    rows -= rows.mean(0)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    found = principal_colors(features).flatten(0, 1).numpy()
    for channel in range(3):
        expected = rows @ vectors[:, -1 - channel]
        low, high = np.quantile(expected, [0.02, 0.98])
        stretched = np.clip((expected - low) / (high - low), 0, 1)
        agree = np.abs(found[:, channel] - stretched).max(), np.abs(found[:, channel] - (1 - stretched)).max()
        assert min(agree) < 1e-4


def test_a_rotation_of_the_features_changes_no_color_but_the_sign():
    features = torch.randn(4, 6, 6, dtype=torch.double) * torch.tensor([4.0, 3, 2, 1]).view(4, 1, 1)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.double)).Q
    first, second = principal_colors(features), principal_colors(torch.einsum("ij,jhw->ihw", rotation, features))
    distance = torch.minimum((first - second).abs().amax((0, 1)), (first - (1 - second)).abs().amax((0, 1)))
    assert distance.max() < 1e-4


@pytest.mark.parametrize("depth", [1, 2])
def test_maps_of_few_channels_are_drawn(depth):
    colors = principal_colors(torch.randn(depth, 4, 4))
    assert colors.shape == (4, 4, 3) and (colors[..., depth:] == 0.5).all()


def test_a_constant_map_is_grey():
    assert (principal_colors(torch.ones(5, 3, 3)) == 0.5).all()


def test_panels_keep_the_shape_of_the_image_and_show_cells():
    tower = tiny_vision(LocalImageEncoder)
    panels = feature_panels(photo(0, (60, 40)), tower, tiny_vision(LocalImageEncoder, seed=5), 56)
    assert [caption for caption, _ in panels] == [
        "image", "image tokens, 2 by 2", "dense, image encoder, 4 by 4", "dense, local image encoder, 4 by 4",
    ]  # fmt: skip
    assert all(panel.size == (PANEL * 3 // 2, PANEL) for _, panel in panels)
    assert len(panels[2][1].getcolors(10_000)) <= 16


def test_image_tokens_are_the_penultimate_states():
    tower = tiny_vision(LocalImageEncoder)
    found = token_map(tower, photo(0))
    states = tower.vision_model(clip_pixels([photo(0)], 28, 28), output_hidden_states=True).hidden_states
    assert len(states) == 4 and found.shape == (32, 2, 2)
    for row in range(2):
        for column in range(2):
            torch.testing.assert_close(found[:, row, column], states[2][0, 1 + 2 * row + column])


def run(*arguments):
    return CliRunner().invoke(app, ["features", *map(str, arguments)])


@pytest.fixture
def towers(tmp_path):
    tiny_vision().save_pretrained(tmp_path / "plain")
    tiny_vision(LocalImageEncoder, seed=5).save_pretrained(tmp_path / "local")
    photo(0).save(tmp_path / "photo.png")
    return tmp_path


def options(towers, **changes):
    values = {"image-encoder": towers / "plain", "local-image-encoder": towers / "local", "output": towers / "f.png"}
    return [str(part) for name, value in {**values, **changes}.items() for part in (f"--{name}", value)]


def test_the_command_draws_a_sheet(towers):
    result = run(towers / "photo.png", *options(towers))
    assert result.exit_code == 0, result.output
    assert Image.open(towers / "f.png").height > PANEL
    settings = read_png_settings(towers / "f.png")
    assert settings["kind"] == "feature sheet" and settings["image"][0]["name"] == "photo.png"
    assert str(towers) not in json.dumps(settings)


def test_without_encoders_it_takes_the_miniature(towers):
    result = run(towers / "photo.png", "--output", towers / "f.png")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"size": 100}, "`--size` must be a multiple of the patch size 14, at least 28, got 100."),
        ({"size": 10**6}, "`--size` must be a whole number from 1 to 4096, got 1000000"),
        ({"size": -28}, "`--size` must be a whole number"),
        ({"output": "a" * 300 + ".png"}, "`--output`: a file cannot have this name"),
        ({"image-encoder": "https://a.org/x"}, "`--image-encoder` does not read URLs"),
        ({"output": "f.jpg"}, "`--output` must end in .png"),
        ({"image-encoder": "nowhere"}, "`--image-encoder` must be a folder"),
        ({"device": "abacus"}, "`--device abacus` cannot be used"),
    ],
)
def test_refusals(towers, changes, message):
    result = run(towers / "photo.png", *options(towers, **changes))
    assert result.exit_code == 1 and message in " ".join(result.output.split())


def test_a_missing_image_is_refused(towers):
    assert "no image file at" in run(towers / "no.png", *options(towers)).output
    assert "`IMAGE` does not read URLs" in run("https://a.org/cat.png", *options(towers)).output


def test_the_photo_is_not_replaced(towers):
    before = (towers / "photo.png").read_bytes()
    result = run(towers / "photo.png", *options(towers, output=towers / "photo.png"))
    assert result.exit_code == 1 and "`--output` would replace" in result.output
    assert (towers / "photo.png").read_bytes() == before
