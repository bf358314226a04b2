"""Pictures from an OpenAI-compatible images endpoint: generations, and edits of one or several pictures."""

import io
import os
import re
import socket
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from ..keys import check_address, refuse_keys, without_keys
from .answers import read_answer, read_error
from .generator import Busy, Drawn, Generator, Halt, Request, Unanswered, Undrawn, Unreadable

ADDRESS, KEY_VARIABLE = "https://api.openai.com/v1", "OPENAI_API_KEY"
TIMEOUT = 180.0  # seconds without a byte; a large picture of a slow model takes minutes at most
CONNECT_SECONDS = 10.0
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
FIELDS = (
    "background", "input_fidelity", "moderation", "output_compression", "output_format", "quality", "response_format",
    "style",
)  # fmt: skip


class ImagesEndpoint(Generator):
    """A model behind `/images/generations` and `/images/edits`, one HTTP request a call of `draw`.

    The client's own repeating is off: it also repeats a request whose answer was lost, which may pay twice. Whoever
    calls `draw` repeats what was surely not paid, and writes every request down. Each carries its key as
    `Idempotency-Key`, by which a server that knows this header answers a repeated request without drawing it again.

    Args:
        model: its name there.
        base_url: ".../v1". key_variable: the environment variable that holds the key; servers on this machine need
            none. timeout: seconds without a byte. fields: further ones of the request, of `FIELDS`.
    Raises:
        ValueError: the package openai or a key is missing, or the address is none, holds a key, or does not answer.
    """

    can_edit = is_paid = True

    def __init__(
        self,
        model: str,
        base_url: str = ADDRESS,
        key_variable: str = KEY_VARIABLE,
        timeout: float = TIMEOUT,
        fields: dict[str, Any] | None = None,
    ):
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ValueError("an endpoint needs the package openai: `pip install 'relationbooth[data]'`.") from error
        if not re.fullmatch(r"[A-Za-z_]\w*", key_variable):
            raise ValueError("`--key-variable` must be the name of an environment variable, not what it holds.")
        self._key = os.environ.get(key_variable, "").strip()
        for name, value in (("generator", model), ("base_url", base_url), ("generator_options", fields or {})):
            refuse_keys(name, value, self._key)
        if not re.fullmatch(r"[!-~]*", self._key):  # a header cannot carry it, and its error would show it
            raise ValueError(
                f"the environment variable {key_variable} holds no key: one is a single line of ASCII without blanks."
            )
        if unknown := sorted({*(fields or {})} - {*FIELDS}):
            raise ValueError(f"an endpoint's options are {', '.join(FIELDS)}, got {', '.join(unknown)}.")
        self.model, self.timeout, self.fields = model, timeout, fields or {}
        self.host = check_address(base_url)
        if not self._key and self.host[0] not in LOCAL_HOSTS:
            raise ValueError(
                f"`{self.host[0]}` needs a key: put it into the environment variable {key_variable} (`--key-variable` "
                "names another one)."
            )
        self._client = OpenAI(base_url=base_url, api_key=self._key or "none", max_retries=0, timeout=timeout)

    def settings(self) -> dict[str, Any]:
        """Not the address: a server that moved draws the same."""
        return {"kind": "openai", "model": self.model, **self.fields}

    def check(self, prompts: Sequence[str]) -> None:
        """Raise a ValueError for a sentence that holds the key, or when nobody listens at the address; nothing is
        sent."""
        refuse_keys("plan", list(prompts), self._key)
        place = _proxy(*self.host) or self.host[:2]
        try:
            socket.create_connection(place, timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise ValueError(
                f"nobody answers at {place[0]}, port {place[1]} ({error}). Check `--base-url` and the network."
            ) from error

    def draw(self, requests: Sequence[Request]) -> list[Drawn | Undrawn]:
        """As in `Generator`; everything that can go wrong is told as an `Undrawn`."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Drawn | Undrawn:
        import httpx2  # openai's own
        from openai import APIConnectionError, APIStatusError, OpenAIError

        try:
            with self._send(request) as response:
                return read_answer(response.iter_bytes(), response.headers, self.timeout, self._clean)
        except Undrawn as error:
            return error
        except APIStatusError as error:
            return read_error(error, self._clean)
        except APIConnectionError as error:
            cause = type(error.__cause__).__name__
            words = self._clean(f"{error} ({error.__cause__ or cause})")
            if cause in ("ConnectError", "ConnectTimeout"):  # nothing went out
                return Busy("no_connection", words, is_general=True)
            return Unanswered("timeout" if "Timeout" in cause else "no_answer", words)
        except OpenAIError as error:
            return Halt("client", self._clean(str(error)))
        except httpx2.HTTPError as error:  # while the body was read: the answer had begun
            return Unreadable("broken_answer", self._clean(f"{type(error).__name__}: {error}"))

    def _send(self, request: Request):
        width, height = request.size
        fields = {"model": self.model, "prompt": request.prompt, "n": 1, "size": f"{width}x{height}"} | {
            name: value for name, value in self.fields.items() if request.images or name != "input_fidelity"
        }
        if self.model.startswith("dall-e"):  # the others always answer so, and refuse the field
            fields.setdefault("response_format", "b64_json")
        images = self._client.with_streaming_response.images
        headers = {"Idempotency-Key": request.key} if request.key else {}
        if not request.images:
            return images.generate(**fields, extra_headers=headers)
        files = [(f"{number}.png", _png(image), "image/png") for number, image in enumerate(request.images)]
        # a list is sent as `image[]`, which servers of one picture do not know
        return images.edit(image=files[0] if len(files) == 1 else files, **fields, extra_headers=headers)

    def _clean(self, text: str) -> str:
        return without_keys(text, self._key)

    def free(self) -> None:
        """Nothing to let go."""


def _proxy(host: str, port: int, scheme: str) -> tuple[str, int] | None:
    """Where the environment sends requests to `host`."""
    proxies = urllib.request.getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    parts = urlsplit(address if "//" in address else f"//{address}")
    return (parts.hostname, parts.port or 80) if parts.hostname else None


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
