"""Which pictures and crops every step of self-distillation reads, and how they become the towers' inputs.

Crops are a function of seed, step and place in the step alone; so are the pictures of a folder or table. A stream's
pictures come in its own order, every process reading all and decoding its share: together they read just what one
process with a larger batch reads, and a resumed run skips what was read.

Shape letters: R pictures, M crops of a picture, S and s the sides of the student's and the teacher's input.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

from relationbooth_pipeline.relation_images import clip_pixels

from ..common.batch_order import BatchOrder
from .crop_sources import PictureFolder, PictureStream, PictureTable
from .distillation import MAX_CROPS, MAX_SPLIT, grid_cells, grid_choices

WHOLE = (0.0, 0.0, 1.0, 1.0)  # fills up pictures with fewer crops; never counted


@dataclass(frozen=True)
class CropPlan:
    """Sizes and shares of a run.

    Attributes:
        crop_size, image_size: s and S, pixels.
        batch_size: pictures of one process at a time; `accumulation` such batches of every process are one step.
    """

    crop_size: int
    image_size: int
    batch_size: int
    seed: int = 0
    accumulation: int = 1
    processes: int = 1
    process: int = 0
    max_split: int = MAX_SPLIT
    max_crops: int = MAX_CROPS

    @property
    def pictures_per_step(self) -> int:
        return self.batch_size * self.accumulation * self.processes

    def boxes(self, step: int, place: int) -> torch.Tensor:
        """Of the crops of picture `place` of a step, XYXY in [0, 1], (M, 4): a random grid's cells, at most
        `max_crops`."""
        rng = random.Random(f"crops {self.seed} {step} {place}")
        cells = grid_cells(*rng.choice(grid_choices(self.max_split)))
        if len(cells) > self.max_crops:
            cells = cells[sorted(rng.sample(range(len(cells)), self.max_crops))]
        return cells

    def places(self, part: int) -> range:
        """Which pictures of a step are this process's in its accumulated batch `part`."""
        first = (part * self.processes + self.process) * self.batch_size
        return range(first, first + self.batch_size)


@dataclass
class CropBatch:
    """Inputs of both towers.

    Attributes:
        pixels: the student's, (R, 3, S, S). boxes: of the crops, XYXY in [0, 1], (R, M, 4), filled up
            with `WHOLE`.
        counts: how many crops of each picture count. crops: the teacher's, (Σ counts, 3, s, s).
        shares: (R,), of each picture's mean loss, so that the mean over processes and accumulated batches is the mean
            over all crops of the step. names: of the pictures.
        position: (epoch, pictures read of it) after this batch; of streams only.
    """

    pixels: torch.Tensor
    boxes: torch.Tensor
    counts: list[int]
    crops: torch.Tensor
    shares: torch.Tensor
    names: list[str]
    position: tuple[int, int] | None = None


def crop(image: Image.Image, box: list[float]) -> Image.Image:
    """The pixels in a box, XYXY in [0, 1]; edges at the nearest pixel."""
    x0, y0, x1, y1 = (round(value * side) for value, side in zip(box, image.size * 2))
    return image.crop((x0, y0, x1, y1))


def crop_batch(pictures: list[Image.Image], names: list[str], plan: CropPlan, step: int, part: int) -> CropBatch:
    """Cut and resize this process's pictures of batch `part` of a step.

    Picture and crops are stretched to squares, as the adapter prepares image prompts.
    Departs from the released code: it keeps the aspect ratio and pads with black.
    """
    boxes = [plan.boxes(step, place) for place in plan.places(part)]
    counts, most = [len(rows) for rows in boxes], max(len(rows) for rows in boxes)
    fill = torch.tensor(WHOLE)
    total = sum(len(plan.boxes(step, place)) for place in range(plan.pictures_per_step))
    crops = [crop(image, box) for image, rows in zip(pictures, boxes) for box in rows.tolist()]
    return CropBatch(
        pixels=clip_pixels(pictures, plan.image_size, plan.image_size),
        boxes=torch.stack([torch.cat([rows, fill.expand(most - len(rows), 4)]) for rows in boxes]),
        counts=counts,
        crops=clip_pixels(crops, plan.crop_size, plan.crop_size),
        shares=torch.tensor(counts) * (plan.accumulation * plan.processes / total),
        names=names,
    )


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be read: a worker hands the message on instead of a traceback."""

    message: str


class _ListedBatches(Dataset):
    """Batch k of all accumulated batches, counted from the run's start."""

    def __init__(self, source: PictureFolder | PictureTable, plan: CropPlan):
        self.source, self.plan = source, plan
        self.order = BatchOrder([None] * len(source), 1, plan.pictures_per_step, plan.seed)

    def __getitem__(self, k: int) -> CropBatch | Unreadable:
        step, part = divmod(k, self.plan.accumulation)
        draws = self.order.batch(step)
        items = [draws[place].item for place in self.plan.places(part)]
        try:
            pictures = [self.source.open(item) for item in items]
        except ValueError as error:
            return Unreadable(str(error))
        return crop_batch(pictures, [self.source.name(item) for item in items], self.plan, step, part)


class _StreamedBatches(IterableDataset):
    def __init__(self, source: PictureStream, plan: CropPlan, start: int, stop: int, position: tuple[int, int]):
        self.source, self.plan, self.numbers, self.position = source, plan, range(start, stop), position

    def _pictures(self) -> Iterator[tuple[tuple[int, int], str, dict]]:
        """(position after it, name, picture), epoch after epoch."""
        epoch, read = self.position
        while True:
            found = False
            for number, (name, value) in enumerate(islice(self.source.read(epoch), read, None), start=read):
                found = True
                yield (epoch, number + 1), name, value
            if not found and read == 0:
                raise ValueError(f"`{self.source.label}` holds no pictures in epoch {epoch}.")
            epoch, read = epoch + 1, 0

    def __iter__(self) -> Iterator[CropBatch | Unreadable]:
        plan, pictures = self.plan, self._pictures()
        for number in self.numbers:
            step, part = divmod(number, plan.accumulation)
            together = list(islice(pictures, plan.batch_size * plan.processes))
            mine = together[plan.process * plan.batch_size :][: plan.batch_size]
            try:
                opened = [self.source.open(name, value) for _, name, value in mine]
            except ValueError as error:
                yield Unreadable(str(error))
                return
            batch = crop_batch(opened, [name for _, name, _ in mine], plan, step, part)
            batch.position = together[-1][0]
            yield batch


def steps_per_epoch(source: PictureFolder | PictureTable, plan: CropPlan) -> int:
    return -(-len(source) // plan.pictures_per_step)


def batches(
    source: PictureFolder | PictureTable | PictureStream,
    plan: CropPlan,
    steps: range,
    position: tuple[int, int] = (0, 0),
    workers: int = 0,
) -> Iterator[CropBatch]:
    """This process's batches of the steps, `plan.accumulation` a step, the next ones prepared by `workers` meanwhile.

    Args:
        position: of a stream: (epoch, pictures of it to skip).
    Raises:
        ValueError: a picture cannot be read; names it.
    """
    start, stop = steps.start * plan.accumulation, steps.stop * plan.accumulation
    if isinstance(source, PictureStream):
        loader = DataLoader(
            _StreamedBatches(source, plan, start, stop, position), batch_size=None, num_workers=min(workers, 1)
        )
    else:
        loader = DataLoader(
            _ListedBatches(source, plan), batch_size=None, sampler=range(start, stop), num_workers=workers
        )
    for batch in loader:
        if isinstance(batch, Unreadable):
            raise ValueError(batch.message)
        yield batch
