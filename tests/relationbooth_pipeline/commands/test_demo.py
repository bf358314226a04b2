"""`relationbooth demo` on a tiny model."""

from PIL import Image


def test_the_demo_shows_both_pictures_from_one_seed(run):
    result = run("demo", "--relation", "hug", "--seed", 3)
    assert result.exit_code == 0, result.output
    first = Image.open("demo.png")
    assert first.width > 3 * 512 + 256  # boxes and two results, and the references
    assert run("demo", "--relation", "hug", "--seed", 3, "--output", "again.png").exit_code == 0
    assert first.tobytes() == Image.open("again.png").tobytes()
    for other in (("--seed", 4), ("--seed", 3, "--weight", 0.5)):
        run("demo", "--relation", "hug", *other, "--output", "other.png")
        assert first.tobytes() != Image.open("other.png").tobytes()


def test_the_demo_of_an_action_shows_one_character(run):
    run("demo", "--relation", "hug", "--output", "two.png")
    result = run("demo", "--relation", "jump", "--output", "one.png")
    assert result.exit_code == 0, result.output
    assert Image.open("one.png").width == Image.open("two.png").width + 256  # one reference takes a whole panel


def test_the_demo_names_what_there_is(run):
    result = run("demo", "--relation", "dancing")
    assert result.exit_code == 1 and "`--relation` must be one of hug, jump, got 'dancing'" in result.output
