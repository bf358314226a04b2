"""The pages agree with the disk: links, headings, lengths, and what is written from the code."""

import re

import pytest

from docs.api import api_page
from docs.files import file_map
from tests.docs.pages import LANGUAGES, NAMES, ROOT, blocks, words


def anchors(page) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    prose = re.sub(r"^```.*?^```$", "", words(name), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{name}: {target}"


@pytest.mark.parametrize("name", NAMES)
def test_every_block_says_what_language_it_is(name):
    for block in blocks(name):
        assert block.language in LANGUAGES, f"{block} is in {block.language or 'no language'!r}"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "training/README.md", "docs/training.md"])
def test_files_that_are_named_are_there(name):
    named = {path for path in re.findall(r"`([\w./]+/[\w.]+\.(?:py|md))`", words(name)) if not path.startswith("PATH")}
    folders = (ROOT, (ROOT / name).parent)
    assert not [path for path in named if not any((folder / path).is_file() for folder in folders)]


def test_where_do_i_add_x_is_answered_with_names_that_are_there():
    text = words("CONTRIBUTING.md")
    for name, file in (
        ("LossSettings", "training/lora/loss_terms.py"),
        ("LOSS_TERMS", "training/lora/loss_terms.py"),
        ("_PIPELINES", "relationbooth_pipeline/relation_rows.py"),
        ("roles_of", "relationbooth_pipeline/relation_rows.py"),
        ("OTHERS", "tests/relationbooth_pipeline/whole/test_rows.py"),
        ("ImagePromptInputs", "relationbooth_pipeline/relation_inputs.py"),
    ):
        assert f"`{name}`" in text and f"`{file}`" in text
        assert re.search(rf"^(class |def )?{name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(("name", "page"), [("files", file_map), ("api", api_page)])
def test_written_pages_are_up_to_date(name, page):
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == page(), f"run `python -m docs.{name}`"


def test_every_page_of_docs_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme
