"""Photos of the miniature bench, whose names say who is in them: pictures with known answers that need no drawing."""

from pathlib import Path

from PIL import Image

from relationbooth_pipeline.evaluation.benches.miniature import FOLDER

ATTRIBUTES = ("species", "color", "marking", "accessory")


def photos(each: int = 1) -> list[tuple[dict[str, str], Image.Image]]:
    """({attribute: value}, picture) of every character of the bench, `each` photos of it."""
    found = []
    for folder in sorted(path for path in Path(FOLDER).iterdir() if path.is_dir()):
        said = dict(zip(ATTRIBUTES, folder.name.split("-")))
        found += [(said, Image.open(folder / f"{number}.png").convert("RGB")) for number in range(each)]
    return found


def words(said: dict[str, str]) -> str:
    """The phrase that says all of a character: "red spotted cat wearing a hat"."""
    text = [said["color"]] + [said["marking"]] * (said["marking"] != "plain") + [said["species"]]
    return " ".join(text + ["wearing", "a", said["accessory"]] * (said["accessory"] != "none"))


def side_by_side(first: Image.Image, second: Image.Image) -> Image.Image:
    """Two photos in one picture, each narrowed to its half."""
    width, height = first.size
    sheet = Image.new("RGB", (width, height))
    for number, photo in enumerate((first, second)):
        middle = photo.crop((width // 4, 0, 3 * width // 4, height))  # characters stand about the middle
        sheet.paste(middle.resize((width // 2, height)), (number * width // 2, 0))
    return sheet
