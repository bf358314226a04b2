"""Where self-distillation finds its pictures: a folder, a table of `datasets`, or a stream (WebDataset shards too)."""

import hashlib
import io
import json
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from relationbooth_pipeline.relation_images import FORMATS, open_image

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SHOWN_FAULTS = 5  # of a folder; one bad download tends to leave hundreds
KEY = "__key__"  # WebDataset's name of a sample


@dataclass(frozen=True)
class PictureOptions:
    """Where pictures come from: exactly one of `train_data_dir`, `dataset_name` and `webdataset_urls` is given.

    Attributes:
        image_column: None: the only column of pictures.
        shuffle_buffer: undecoded pictures that a stream is shuffled through; 0: in its order. seed: of that order.
    """

    train_data_dir: str | None
    dataset_name: str | None
    webdataset_urls: list[str] | None
    dataset_split: str
    image_column: str | None
    streaming: bool
    shuffle_buffer: int
    seed: int
    cache_dir: str | None


@dataclass
class PictureFolder:
    """Every picture below a folder, in the order of its path."""

    files: list[Path]

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.files[index])

    def open(self, index: int) -> Image.Image:
        """RGB; a ValueError names the file."""
        return open_image(self.files[index])


@dataclass
class PictureTable:
    """A map-style `datasets.Dataset`; pictures are decoded here, by our own rules, not by `datasets`."""

    rows: object
    column: str
    label: str

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return f"row {index} of `{self.label}`"

    def open(self, index: int) -> Image.Image:
        return decoded(self.rows[index][self.column], self.name(index))


@dataclass
class PictureStream:
    """A `datasets.IterableDataset`, shuffled through a buffer; the order depends on seed and epoch alone.

    `datasets` shuffles the shards. The buffer is ours: theirs draws another order in a worker of a `DataLoader`.

    Attributes:
        buffer_size: pictures kept undecoded, one of them drawn at a time; 0 or 1: none.
    """

    rows: object
    column: str
    label: str
    buffer_size: int
    seed: int

    def read(self, epoch: int) -> Iterator[tuple[str, dict]]:
        """(name, undecoded picture) of a whole epoch."""
        self.rows.set_epoch(epoch)
        rng, kept = random.Random(f"stream {self.seed} {epoch}"), []
        for number, row in enumerate(self.rows):
            kept.append((f"picture {row.get(KEY, number)} of `{self.label}`", row[self.column]))
            if len(kept) >= max(1, self.buffer_size):
                yield kept.pop(rng.randrange(len(kept)))
        rng.shuffle(kept)
        yield from kept

    def open(self, name: str, value: dict) -> Image.Image:
        return decoded(value, name)


def open_source(options: PictureOptions, smallest_side: int) -> PictureFolder | PictureTable | PictureStream:
    """What the options name, checked as far as that takes no decoding of every picture.

    Args:
        smallest_side: pixels; a folder's pictures are refused below it.
    Raises:
        ValueError: there are no pictures, or unreadable or too small ones (of a folder all are looked at; of a table
            and a stream, the first).
    """
    if options.train_data_dir is not None:
        return PictureFolder(_checked_files(Path(options.train_data_dir), smallest_side))
    import datasets  # takes a second, and a folder does without it

    shards, cache = options.webdataset_urls, options.cache_dir
    streaming, label = options.streaming or shards is not None, options.dataset_name or "--webdataset_urls"
    try:
        if shards is not None:
            rows = datasets.load_dataset(
                "webdataset", data_files=shards, split="train", streaming=True, cache_dir=cache
            )
        else:
            rows = datasets.load_dataset(
                options.dataset_name, split=options.dataset_split, streaming=streaming, cache_dir=cache
            )
        first = next(iter(rows.take(1)), None)
    except Exception as error:  # builders, the Hub, tar and Pillow raise their own kinds; the cause is kept
        raise ValueError(f"`{label}` could not be read ({type(error).__name__}): {error}") from error
    if first is None:
        raise ValueError(f"`{label}` holds no samples. Check the name, the split or the addresses.")
    column = _image_column(first, options.image_column, label)
    _check_side(f"the first picture of `{label}`", first[column].size, smallest_side)
    rows = rows.select_columns([column, *([KEY] if KEY in first else [])])
    rows = rows.cast_column(column, datasets.Image(decode=False))
    if not streaming:
        return PictureTable(rows, column, label)
    if options.shuffle_buffer:
        rows = rows.shuffle(seed=options.seed, buffer_size=1)
    return PictureStream(rows, column, label, options.shuffle_buffer, options.seed)


def picture_facts(options: PictureOptions, source: PictureFolder | PictureTable | PictureStream) -> dict[str, str]:
    """What a run notes of pictures on this machine: a digest of their files' paths and sizes.

    Contents would take as long to read as an epoch. What the Hub holds is told by its name.
    """
    if options.webdataset_urls is not None:
        files = {url: Path(url) for url in options.webdataset_urls}
    else:
        folder = Path(options.train_data_dir or options.dataset_name)
        below = source.files if isinstance(source, PictureFolder) else sorted(folder.rglob("[!.]*"))
        files = {file.relative_to(folder).as_posix(): file for file in below}
    sizes = [[name, file.stat().st_size] for name, file in files.items() if file.is_file()]
    return {"picture_files_digest": hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:16]} if sizes else {}


def decoded(value: dict, name: str) -> Image.Image:
    """RGB picture of {"bytes", "path"}, as `datasets` keeps it.

    Raises:
        ValueError: naming the sample.
    """
    try:
        if value["bytes"] is None:
            return open_image(value["path"])
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(value["bytes"]), formats=FORMATS) as image:
                return open_image(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is too large to open safely ({error}). Leave it out.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name} is not a readable picture ({error}). Mend it or leave it out.") from error


def _checked_files(folder: Path, smallest_side: int) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"`--train_data_dir` must be a folder of pictures, there is no `{folder}`. Check the path.")
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise ValueError(
            f"`--train_data_dir` `{folder}` holds no pictures, also not in its subfolders. Known endings: "
            f"{', '.join(sorted(SUFFIXES))}."
        )
    faults = []
    for file in files:
        try:
            with Image.open(file, formats=FORMATS) as image:  # reads the header alone
                _check_side(f"`{file}`", image.size, smallest_side)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            faults.append(f"`{file}` is not a readable picture ({error}).")
        except (ValueError, Image.DecompressionBombError) as error:
            faults.append(str(error))
    if faults:
        more = f" And {len(faults) - SHOWN_FAULTS} more." if len(faults) > SHOWN_FAULTS else ""
        raise ValueError(
            f"{len(faults)} of {len(files)} pictures cannot be used: {' '.join(faults[:SHOWN_FAULTS])}{more} Take them "
            "out of the folder."
        )
    return files


def _check_side(name: str, size: tuple[int, int], smallest_side: int) -> None:
    if min(size) < smallest_side:
        raise ValueError(f"{name} must have sides of at least {smallest_side} pixels, got {size[0]}×{size[1]}.")


def _image_column(row: dict, column: str | None, label: str) -> str:
    found = [name for name, value in row.items() if isinstance(value, Image.Image)]
    if column is None and len(found) == 1:
        return found[0]
    if column not in found:
        raise ValueError(
            f"`--image_column` must name one column of pictures of `{label}` ({', '.join(found) or 'it has none'}), "
            f"got {column!r}."
        )
    return column
