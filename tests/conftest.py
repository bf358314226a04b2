"""One thread a process: the models are tiny, and threads without a free core wait for each other. No network."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, after this file
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # so is this; a test that wants a Hub starts its own, and clients of it
LONGEST = ("tests/hub/", "tests/training/")


def pytest_collection_modifyitems(items):
    """The longest files first: no worker is then left with one when the others are done."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
