"""Pictures that exist, by names or by a table; every fault of every row at once."""

import pytest

from relationbooth_pipeline.triplets.photos import read_pictures
from tests.tiny import photo

WORDS = {"phrases": ["cat", "dog"], "predicate": "hugging"}


@pytest.fixture
def folder(tmp_path):
    for name in ("Hug 1.JPG", "Hug 1_object_0.png", "Hug 1_object_1.jpg"):
        photo(size=(20, 10)).save(tmp_path / name, "PNG" if name.endswith("png") else "JPEG")
    return tmp_path


def table(folder, text):
    (folder / "pictures.csv").write_text(text, encoding="utf-8-sig")
    return folder


def test_names_say_which_objects_belong_to_which_target(folder):
    (row,) = read_pictures(folder, **WORDS)
    assert row.id == "hug-1" and row.target.name == "Hug 1.JPG" and row.prompt is None
    assert [file.name for file in row.objects] == ["Hug 1_object_0.png", "Hug 1_object_1.jpg"]
    assert row.phrases == ("cat", "dog") and row.predicate == "hugging"


def test_a_table_says_it_too_and_its_own_words_come_first(folder):
    head = "target,objects,phrases,predicate,prompt\n"
    line = 'Hug 1.JPG,Hug 1_object_0.png; Hug 1_object_1.jpg,lion;polar bear,hug,"Here, a lion and a polar bear hug"\n'
    (row,) = read_pictures(table(folder, head + line + ",,,,\n"), **WORDS)
    assert row.phrases == ("lion", "polar bear") and row.predicate == "hug"
    assert row.prompt == "Here, a lion and a polar bear hug"
    (row,) = read_pictures(table(folder, "target,objects\nHug 1.JPG,Hug 1_object_1.jpg;Hug 1_object_0.png\n"), **WORDS)
    assert row.objects[0].name == "Hug 1_object_1.jpg" and row.phrases == ("cat", "dog")
    assert read_pictures(folder / "pictures.csv", **WORDS) == [row]


@pytest.mark.parametrize(
    "text, message",
    [
        ("target\nHug 1.JPG\n", "lacks the columns objects"),
        ("target,objects,boxes\nHug 1.JPG,a,b\n", "must have the columns target, .*got also boxes"),
        ("target,objects\n,Hug 1_object_0.png\n", "line 2: `target` is empty"),
        ("target,objects\nHug 1.JPG,a.png;b.png,c\n", "line 2: has more fields than the header"),
        ("target,objects\n", "holds no target with objects. Name them"),
    ],
)
def test_tables_that_say_something_else_are_refused(folder, text, message):
    with pytest.raises(ValueError, match=message):
        read_pictures(table(folder, text), **WORDS)


@pytest.mark.parametrize(
    "words, message",
    [
        ({"phrases": []}, "`phrases` are missing: the noun of each object. Pass `--phrase` once per object"),
        ({"phrases": ["cat"]}, r"one object per phrase \(1\), got 2 pictures"),
        ({"phrases": ["Cat", "cat "]}, "`phrases` must differ, got Cat, cat .* Say how they differ"),
        ({"predicate": None}, "`predicate` is missing"),
        ({"prompt": "a cat near a doghouse"}, "the prompt 'a cat near a doghouse' must say 'dog', 'hugging'"),
    ],
)
def test_words_that_do_not_fit_are_refused(folder, words, message):
    with pytest.raises(ValueError, match=message):
        read_pictures(folder, **{**WORDS, **words})


def test_all_faults_of_all_rows_are_told_at_once(folder):
    (folder / "b_object_0.png").write_bytes(b"\x89PNG")
    photo(size=(20, 10)).save(folder / "c.png")
    photo(size=(20, 10)).save(folder / "c_object_1.png")
    with pytest.raises(ValueError) as caught:
        read_pictures(folder, **WORDS)
    wanted = [
        "`b`: its target `b.*` is missing.",
        "`b`: there must be one object per phrase (2), got 1 pictures.",
        f"`b`: no image file at `{folder / 'b'}`. Check the path.",
        "`b`: `" + str(folder / "b_object_0.png") + "` is not a readable image",
        "`c`: objects must be numbered from 0 without a gap, got 1.",
        "`c`: there must be one object per phrase (2), got 1 pictures.",
    ]
    lines = str(caught.value).split("\n")
    assert len(lines) == len(wanted) and all(line.startswith(start) for line, start in zip(lines, wanted))


@pytest.mark.parametrize(
    "name, message",
    [
        ("Hug 1.png", "`Hug 1`: `Hug 1.JPG` and `Hug 1.png` are both its target. Remove one, or rename it."),
        ("Hug 1_object_0.jpg", "`Hug 1`: `Hug 1_object_0.jpg` and `Hug 1_object_0.png` are both its object 0. Remove"),
        ("Hug 1_object_01.webp", "`Hug 1`: `Hug 1_object_01.webp` and `Hug 1_object_1.jpg` are both its object 1. "),
    ],
)
def test_no_photo_takes_the_place_of_another_silently(folder, name, message):
    photo(size=(20, 10)).save(folder / name)
    with pytest.raises(ValueError) as caught:
        read_pictures(folder, **WORDS)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_two_targets_of_one_name_are_refused(folder):
    photo(size=(20, 10)).save(folder / "hug_1.png")
    rows = "Hug 1.JPG,Hug 1_object_0.png;Hug 1_object_1.jpg\n" * 2
    with pytest.raises(ValueError, match="line 3: `target` Hug 1.JPG has the same name as that of pictures.csv line 2"):
        read_pictures(table(folder, "target,objects\n" + rows), **WORDS)


@pytest.mark.parametrize(
    "name, message", [("none", "there is no folder or CSV file"), ("file.txt", "must be a folder of")]
)
def test_what_is_no_folder_is_refused(tmp_path, name, message):
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ValueError, match=message):
        read_pictures(tmp_path / name, **WORDS)
