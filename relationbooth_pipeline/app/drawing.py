"""Draw in a thread that can be stopped between two steps, and tell how far it is."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from .studio import Studio


@dataclass
class Step:
    """`done` of `total` steps of all pictures together; `preview` makes a data URL, for those who show it, or None."""

    done: int
    total: int
    preview: Callable[[], str] | None


@dataclass
class Drawn:
    """A finished picture: PIL image, the `Generation` that it came from, its number there."""

    picture: object
    generation: object
    index: int


class _Stopped(Exception):
    """Nobody waits for the picture any more."""


def draw(studio: Studio, variants: Sequence, images: list) -> Iterator[Step | Drawn]:
    """Draw the pictures of each of `variants` (checked settings), one after the other on the shared pipeline.

    Closing the generator (a cancelled event of the page does) stops the thread at its next step and waits for it.

    Raises:
        ValueError: what the pipeline refused.
    """
    events: queue.SimpleQueue = queue.SimpleQueue()
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(studio, variants, images, events, stop), daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        stop.set()
        thread.join()


def _work(studio: Studio, variants: Sequence, images: list, events: queue.SimpleQueue, stop: threading.Event) -> None:
    try:
        with studio.lock:
            try:
                before, total = 0, sum(settings.count for settings in variants)
                for settings in variants:
                    _some(studio, settings, images, events, stop, before, total)
                    before += settings.count
            except _Stopped:
                studio.pipe.maybe_free_model_hooks()  # what the interrupted call could not do at its end
        events.put(None)
    except Exception as error:  # told to the one who waits, in his thread
        events.put(error)


def _some(studio, settings, images, events, stop, before: int, total: int) -> None:
    """All pictures of one variant; `before` and `total` count pictures of all variants."""
    preview = None

    def on_latents(latents):
        nonlocal preview
        if stop.is_set():
            raise _Stopped
        preview = partial(studio.preview.data_url, latents) if studio.preview is not None else None

    generation = studio.prepare(settings, images)
    for index in range(settings.count):
        if stop.is_set():
            raise _Stopped

        def on_step(done, steps, index=index):
            events.put(Step((before + index) * steps + done, total * steps, preview))

        events.put(Drawn(generation.run(on_step, index, on_latents), generation, index))
