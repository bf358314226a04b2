"""Which crops and pictures a step reads: the same for any number of processes, and after any resume."""

import io
import tarfile

import pytest
import torch
from PIL import Image

from relationbooth_pipeline.relation_images import clip_pixels
from tests.tiny import photo, tiny_vision
from training.encoder.crop_pictures import CropPlan, batches, crop, crop_batch, steps_per_epoch
from training.encoder.crop_sources import PictureFolder, PictureOptions, open_source
from training.encoder.distillation import crop_distillation_loss

SIDE = 14  # pixels; smallest allowed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for i in range(5):
        photo(i, (40 + i, 30)).save(root / f"{i}.png")
    return root


def source_arguments(**changes) -> PictureOptions:
    values = dict(
        train_data_dir=None, dataset_name=None, webdataset_urls=None, streaming=False, dataset_split="train",
        cache_dir=None, image_column=None, shuffle_buffer=3, seed=0,
    )  # fmt: skip
    return PictureOptions(**{**values, **changes})


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    """Two tar files of three and two pictures."""
    root = tmp_path_factory.mktemp("shards")
    for shard, numbers in enumerate(((0, 1, 2), (3, 4))):
        with tarfile.open(root / f"{shard}.tar", "w") as tar:
            for number in numbers:
                tar.add(folder / f"{number}.png", arcname=f"{number:03d}.png")
                note = f'{{"number": {number}}}'.encode()
                info = tarfile.TarInfo(f"{number:03d}.json")
                info.size = len(note)
                tar.addfile(info, io.BytesIO(note))
    return sorted(str(path) for path in root.iterdir())


@pytest.fixture(params=["folder", "table", "stream", "shards"])
def source(request, folder, shards, tmp_path):
    changes = {
        "folder": {"train_data_dir": folder},
        "table": {"dataset_name": str(folder), "cache_dir": str(tmp_path)},
        "stream": {"dataset_name": str(folder), "streaming": True},
        "shards": {"webdataset_urls": shards},
    }[request.param]
    return open_source(source_arguments(**changes), SIDE)


PLAN = CropPlan(crop_size=28, image_size=112, batch_size=2)


def same(one, two):
    assert one.names == two.names and one.counts == two.counts and one.position == two.position
    for name in ("pixels", "boxes", "crops", "shares"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_crops_are_cells_of_a_grid_and_at_most_twenty():
    plan = CropPlan(28, 112, 2)
    counts = {len(plan.boxes(step, place)) for step in range(60) for place in range(2)}
    assert max(counts) == 20 and min(counts) == 1
    assert {len(CropPlan(28, 112, 2, max_split=1).boxes(step, 0)) for step in range(9)} == {1}
    assert not torch.equal(plan.boxes(0, 0), CropPlan(28, 112, 2, seed=1).boxes(0, 0))
    assert torch.equal(plan.boxes(7, 1), CropPlan(28, 112, 2).boxes(7, 1))


def test_crops_are_the_pixels_of_their_boxes():
    image = photo(0, (50, 40))
    assert crop(image, [0.5, 0.25, 1, 0.75]).tobytes() == image.crop((25, 10, 50, 30)).tobytes()
    batch = crop_batch([image, photo(1)], ["a", "b"], PLAN, step=3, part=0)
    assert len(batch.crops) == sum(batch.counts) and batch.pixels.shape == (2, 3, 112, 112)
    expected = clip_pixels([crop(image, PLAN.boxes(3, 0)[0].tolist())], 28, 28)
    assert torch.equal(batch.crops[:1], expected)
    assert torch.equal(batch.boxes[0, : batch.counts[0]], PLAN.boxes(3, 0))


def test_every_epoch_reads_every_picture(source):
    """Three steps of two: five pictures and one of them again."""
    pictures = [picture for batch in batches(source, PLAN, range(3)) for picture in batch.pixels]
    assert len({round(float(picture.sum()), 3) for picture in pictures}) == 5


def test_a_resumed_run_reads_what_an_unbroken_one_reads(source):
    whole = list(batches(source, PLAN, range(7)))
    position = whole[3].position or (0, 0)
    rest = list(batches(source, PLAN, range(4, 7), position, workers=1))
    for one, two in zip(whole[4:], rest, strict=True):
        same(one, two)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_processes_share_the_pictures_and_give_the_gradient_of_one_large_batch(source, accumulation):
    def gradient(parts):
        """Mean over processes and accumulated batches, as accelerate takes it."""
        tower = tiny_vision().requires_grad_(False)
        weight = torch.ones(16, requires_grad=True)
        for batch in parts:
            seen = tower(batch.crops).image_embeds.split(batch.counts)
            own = tower(clip_pixels([photo(9)], 28, 28)).image_embeds * weight
            losses = torch.stack([crop_distillation_loss(own.expand_as(expected), expected) for expected in seen])
            ((losses * batch.shares).sum() / len(parts)).backward()
        return weight.grad

    whole = list(batches(source, CropPlan(28, 112, 4 * accumulation), range(2)))
    split = {"batch_size": 2, "accumulation": accumulation, "processes": 2}
    shares = [list(batches(source, CropPlan(28, 112, process=p, **split), range(2))) for p in range(2)]
    for step in range(2):
        parts = [shares[p][step * accumulation + k] for k in range(accumulation) for p in range(2)]
        assert [name for part in parts for name in part.names] == whole[step].names
        torch.testing.assert_close(gradient(parts), gradient([whole[step]]), atol=1e-7, rtol=1e-5)
        # The step's loss is the mean over all its crops.
        assert whole[step].shares.sum() == pytest.approx(1)


def test_steps_per_epoch_rounds_up():
    assert steps_per_epoch(PictureFolder([None] * 5), PLAN) == 3


def test_an_unreadable_picture_is_named(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    truncated = tmp_path / "2.png"
    truncated.write_bytes(truncated.read_bytes()[:900])
    for workers in (0, 1):
        source = open_source(source_arguments(train_data_dir=tmp_path), SIDE)  # its header is intact
        with pytest.raises(ValueError, match=r"^`.*2\.png` is not a readable image"):
            list(batches(source, PLAN, range(3), workers=workers))


def test_bad_files_of_a_folder_are_all_named(folder, tmp_path):
    photo(0).save(tmp_path / "good.png")
    (tmp_path / "text.jpg").write_text("no picture")
    photo(1, (9, 30)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="2 of 3 pictures cannot be used") as caught:
        open_source(source_arguments(train_data_dir=tmp_path), SIDE)
    message = str(caught.value)
    assert "small.png` must have sides of at least 14 pixels, got 9×30." in message and "text.jpg` is not" in message


def test_an_empty_folder_and_a_wrong_column_are_refused(folder, shards, tmp_path):
    with pytest.raises(ValueError, match="holds no pictures, also not in its subfolders"):
        open_source(source_arguments(train_data_dir=tmp_path), SIDE)
    with pytest.raises(ValueError, match=r"must name one column of pictures of .* \(png\), got 'jpg'"):
        open_source(source_arguments(webdataset_urls=shards, image_column="jpg"), SIDE)
    with pytest.raises(ValueError, match=r"the first picture of .* must have sides of at least 99"):
        open_source(source_arguments(webdataset_urls=shards), 99)


def test_a_bad_picture_in_a_shard_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(2):
            buffer = io.BytesIO()
            photo(number).save(buffer, "PNG")
            data = buffer.getvalue()[: 900 if number else None]
            info = tarfile.TarInfo(f"{number:03d}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    source = open_source(source_arguments(webdataset_urls=[str(tmp_path / "a.tar")]), SIDE)
    with pytest.raises(ValueError, match=r"picture 001 of `--webdataset_urls` is not a readable picture"):
        list(batches(source, PLAN, range(1)))


def test_grey_and_transparent_pictures_are_read(tmp_path):
    Image.new("L", (30, 30), 7).save(tmp_path / "grey.png")
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    (batch,) = batches(open_source(source_arguments(train_data_dir=tmp_path), SIDE), PLAN, range(1))
    assert sorted(round(float(p.mean()), 1) for p in batch.pixels)[1] > 1.5  # transparency is laid over white
