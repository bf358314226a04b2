"""Chromium for the tests that look at a page."""

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# A camera that shows a moving pattern, and a person who allows it.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Its path; skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    return CHROMIUM


@pytest.fixture(scope="module")
def browser(chromium):
    """One a module: while Playwright's synchronous API is open, its event loop is this process's only one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need `pip install playwright`")
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()
