"""Serve the page: to this machine alone unless a password is set, and nothing but what it made itself."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .guards import ReadBeforeRefusing, SameOrigin
from .quick_start import uncollected, without_stubs
from .studio import Studio

if TYPE_CHECKING:
    import gradio as gr

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_UPLOAD = "20mb"
CLIENTS_WAITING = 64  # further ones are told that the queue is full
# Seconds between two looks of Gradio's queue for a job; its own thousandth takes a tenth of a core from the drawing.
QUEUE_PAUSE = 0.02
UPLOAD_AGE = (600, 86_400)  # seconds: how often files are looked at, and the age at which they go
MIN_PASSWORD = 8  # characters


def check_address(host: str, password: str | None) -> None:
    """Raise a ValueError where others could reach the page and no password keeps them out."""
    if host not in LOOPBACK and not password:
        raise ValueError(
            f"`--host {host}` lets others reach this page: set a password (`--password`, or RELATIONBOOTH_PASSWORD), "
            "or leave `--host` out."
        )
    if password is not None and len(password) < MIN_PASSWORD:
        raise ValueError(f"`--password` must have at least {MIN_PASSWORD} characters, got {len(password)}.")


def check_results(folder: Path | None) -> None:
    """Raise a ValueError unless pictures can be kept in `folder`."""
    if folder is not None and (not folder.is_dir() or not os.access(folder, os.W_OK)):
        raise ValueError(f"`--results`: `{folder}` is no folder that can be written to. Create it first.")


def build(studio: Studio, served: Path, kept: Path | None = None, shared: bool = True) -> "gr.Blocks":
    """The page as `gr.Blocks`, not yet served.

    Args:
        served: folder for everything that the page shows; also what `GRADIO_TEMP_DIR` names.
        kept: the host's folder of results. shared: see `Results`.
    """
    with without_stubs():
        try:
            import gradio as gr
        except ImportError as error:
            raise ValueError(f"the page needs gradio ({error}): pip install 'relationbooth[app]'.") from error

        from .page import lay_out
    from .actions import Actions
    from .drawing_events import wire_drawing
    from .results import Results
    from .wiring import wire_form

    actions = Actions(studio, Results(studio, served, kept, shared))
    with gr.Blocks(title="RelationBooth", analytics_enabled=False) as app:
        page = lay_out()
        wire_form(app, page, actions)
        wire_drawing(page, actions)
    app.queue(max_size=CLIENTS_WAITING)
    app._queue.sleep_when_free = QUEUE_PAUSE
    return app


def serve(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    kept: Path | None = None,
    browser: bool = False,
    on_open: Callable[[str], None] = print,
    stop: threading.Event | None = None,
    public: bool = False,
) -> None:
    """Open the page, then load the model, then serve until `stop` is set or the process is interrupted.

    Args:
        password: of the user "relationbooth"; needed where `host` is not this machine alone.
        public: a Space: open to everybody by intention, in a frame of huggingface.co, for many people.
        on_open: told the address as soon as the page answers.
    Raises:
        ValueError: an address without password, a folder that cannot be written, or a model that cannot be loaded.
    """
    if not public:
        check_address(host, password)
    check_results(kept)
    with tempfile.TemporaryDirectory(prefix="relationbooth-app-") as served:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": served, "HF_HUB_DISABLE_TELEMETRY": "1"}
        with contextlib.ExitStack() as open_page, contextlib.suppress(KeyboardInterrupt):
            with uncollected():
                app = build(studio, Path(served), kept, shared=host in LOOPBACK)
                address = launch(app, host, port, password, browser, public)
                open_page.callback(app.close, verbose=False)
                on_open(address)
                studio.load()
            forgetting(Path(served), stop or threading.Event())


def forgetting(folder: Path, stop: threading.Event) -> None:
    """Let files leave with age until `stop` is set. Gradio's own deletion passes over the sheets of downloads."""
    from .results import forget

    pause, age = UPLOAD_AGE
    while not stop.wait(pause):
        forget(folder, age)


def launch(
    app: "gr.Blocks", host: str, port: int | None, password: str | None, browser: bool = False, public: bool = False
) -> str:
    """Start the server in a thread of its own; its address."""
    import gradio as gr
    from starlette.middleware import Middleware

    from .page import CSS, SCRIPT

    guard = {"hosts": LOOPBACK if host in LOOPBACK else None} | ({"frames": "https://huggingface.co"} if public else {})

    _, address, _ = app.launch(
        server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, inbrowser=browser,
        auth=("relationbooth", password) if password else None, max_file_size=MAX_UPLOAD, ssr_mode=False,
        enable_monitoring=False, strict_cors=True, show_error=False, footer_links=["api", "settings"],
        blocked_paths=[os.getcwd()], css=CSS, js=SCRIPT,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        app_kwargs={"middleware": [Middleware(ReadBeforeRefusing), Middleware(SameOrigin, **guard)]},
    )  # fmt: skip
    return address
