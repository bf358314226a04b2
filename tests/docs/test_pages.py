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


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(("name", "page"), [("files", file_map), ("api", api_page)])
def test_written_pages_are_up_to_date(name, page):
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == page(), f"run `python -m docs.{name}`"


def test_every_page_of_docs_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme
