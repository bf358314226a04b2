"""What makes the page's start short: nothing is collected while libraries load, and gradio writes no type stubs."""

import contextlib
import gc
import inspect
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile, and none of what is there at the end later on.

    What imports and loading make stays, so that looking for garbage among it is in vain: a third of the start, and half
    a second of one drawing in many.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def without_stubs() -> Iterator[None]:
    """Component classes that are imported meanwhile get no `.pyi` file beside their source.

    gradio 6 parses each component's source and renders its stub at every import, more than half of the time that
    importing it takes; of a class without a file it makes none.
    """
    found = inspect.getfile

    def getfile(thing: object) -> str:
        if inspect.isclass(thing) and thing.__module__.startswith(("gradio.", __package__)):
            raise OSError("a component's source is not looked for")
        return found(thing)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = found
