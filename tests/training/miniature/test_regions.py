"""Zero-shot reading of regions: cells, text classes and intervals are what they claim to be."""

import json

import pytest
import torch

pytest.importorskip("skia", reason="skia-python, which draws the miniature's world, is not installed")

from transformers import CLIPVisionModelWithProjection

from relationbooth_pipeline import LocalImageEncoder
from relationbooth_pipeline.miniature import path as miniature_path
from tests.tiny import tiny_vision
from training.encoder.distillation import grid_cells
from training.miniature.measure import regions
from training.miniature.world.identities import COLORS, SPECIES
from training.miniature.world.scenes import draw_scene, write_scenes

GRID, SIZE = 4, 128


@pytest.fixture(scope="module")
def drawn():
    return regions.draw_cells(12, GRID, SIZE, seed=0)


def test_cells_are_covered_by_their_character(drawn):
    """A loop over pixels: the dominant owner of each listed cell is the one whose classes are listed."""
    pictures, cells = drawn
    assert len(pictures) == 12 and len(cells.scene) > 40
    rows = torch.stack([cells.scene, cells.cell, *cells.targets.values()], dim=1).tolist()
    listed = {(scene, cell): (species, color) for scene, cell, species, color in rows}
    assert len(listed) == len(cells.scene), "no cell is listed twice"
    side = SIZE // GRID
    for number in range(12):
        rng = regions.random.Random(f"regions 0 {number}")
        alike = True
        while alike:
            scene = draw_scene(rng, held_out=True, of=regions.RELATIONS, size=SIZE, annotate=True)
            first, second = scene.characters
            alike = first.species == second.species or first.color == second.color
        for cell in range(GRID * GRID):
            row, column = divmod(cell, GRID)
            patch = scene.masks[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
            owners = [i for i in range(2) if patch[i].mean() > 0.5]
            expected = [
                (SPECIES.index(scene.characters[i].species), tuple(COLORS).index(scene.characters[i].color))
                for i in owners
            ]
            assert [listed[number, cell]] == expected if owners else (number, cell) not in listed


def test_features_that_are_the_classes_are_always_right(drawn):
    _, cells = drawn
    classes = {"species": torch.eye(8, 16), "color": torch.eye(8, 16)}
    features = torch.zeros(12, GRID * GRID, 16)
    features[cells.scene, cells.cell] = classes["species"][cells.targets["species"]]
    right = regions.is_right(features, cells, classes)
    assert right["species"].min() == 1 and right["color"].mean() < 1


def test_local_features_lie_row_by_row():
    """A picture that is black but for one cell: that cell's feature differs most."""
    tower = tiny_vision(LocalImageEncoder)
    black = regions.Image.new("RGB", (112, 112))
    marked = black.copy()
    marked.paste((255, 255, 255), (56, 0, 112, 56))  # top right: row 0, column 1
    features = regions.local_features(tower, [black, marked], 2, 112)
    assert (features[0] - features[1]).norm(dim=-1).argmax() == 1
    crops = regions.crop_features(tiny_vision(CLIPVisionModelWithProjection), [black, marked], 2)
    assert (crops[0] - crops[1]).norm(dim=-1).gt(1e-3).tolist() == [False, True, False, False]
    assert grid_cells(2, 2)[1].tolist() == [0.5, 0, 1, 0.5]


def test_the_interval_knows_that_cells_of_a_scene_agree():
    generator = torch.Generator().manual_seed(0)
    alone = (torch.rand(400, generator=generator) < 0.5).double()
    single = regions.scene_interval(alone, torch.arange(400))
    assert single[0] == pytest.approx(100 * alone.mean().item(), abs=0.01)
    assert single[2] - single[1] == pytest.approx(2 * 1.96 * 100 * 0.5 / 20, rel=0.15)
    grouped = regions.scene_interval(alone.repeat_interleave(9), torch.arange(400).repeat_interleave(9))
    assert grouped[2] - grouped[1] == pytest.approx(single[2] - single[1], rel=0.05)


def test_the_program_compares_encoders(capsys):
    weights = miniature_path()
    tower = str(weights / "relation_adapter" / "image_encoder")
    flags = ["--image_encoder", tower, tower, "--text_encoder", str(weights / "text_encoder_2"), "--scenes", "3"]
    regions.main([*flags, "--image_scale", "1", "--json"])
    crops, *rows = json.loads(capsys.readouterr().out)
    assert crops["encoder"].startswith("crops, ") and [row["encoder"] for row in rows] == [tower]
    assert rows[0]["color_difference"] == [0, 0, 0] and 0 <= crops["species"][0] <= 100


def test_scenes_are_written_as_pictures(tmp_path):
    write_scenes(tmp_path, 2, seed=3)
    files = sorted(tmp_path.iterdir())
    first = [file.read_bytes() for file in files]
    write_scenes(tmp_path, 2, seed=3)
    assert [file.name for file in files] == ["000000.png", "000001.png"]
    assert [file.read_bytes() for file in files] == first and first[0] != first[1]
