"""Keys stay in the environment: what looks like one is refused where it is written down, addresses among it, and taken
out of messages."""

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit

# As providers write them (sk-…, hf_…, r8_…, AIza…, Bearer …), and addresses that hold a password or a query.
_KEY = re.compile(
    r"\bsk-[A-Za-z0-9_-]{6,}|\b(?:pk|rk|api|key)-[A-Za-z0-9_-]{16,}|\b(?:hf|r8|gsk|xai)_[A-Za-z0-9]{8,}|\bAIza[\w-]{20,}|Bearer\s+\S{6,}"
)
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]+@")
# Variables of the environment that hold keys, whatever those look like; shorter values, "none" or "test", are words.
_NAMED_KEY = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
LEAST = 12  # characters
LONGEST = 300  # characters of another's message


def refuse_keys(where: str, value: Any, *keys: str) -> None:
    """Raise a ValueError when a text, or any text within lists and fields, holds what looks like a key or password, or
    a key that the environment holds, or one of `keys`.

    The message says where, never what.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if _KEY.search(text) or _PASSWORD.search(text) or any(key in text for key in _long([*_environment(), *keys])):
        raise ValueError(
            f"`{where}` holds what looks like a key or a password. Keys come from the environment alone, such as "
            "OPENAI_API_KEY: take it out, and make a new one where others could read it."
        )


def check_address(address: str, where: str = "base_url") -> tuple[str, int, str]:
    """(host, port, scheme) of an endpoint's address, which is written down where others read it.

    Args:
        where: the argument that it was given by.
    Raises:
        ValueError: no http(s) address, or one with a name, password or query, which may be a key.
    """
    refuse_keys(where, address)
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ValueError(f"`{where}` is no address ({error}).") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"`{where}` must be http(s)://HOST[:PORT]/v1, got {address[:80]!r}.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"`{where}` must hold no name, password or query: keys come from the environment alone.")
    return parts.hostname, port, parts.scheme


def without_keys(text: str, *keys: str | None) -> str:
    """Another's words, cut, in one line, without `keys` and whatever else looks like one."""
    for key in (*filter(None, keys), *_long(_environment())):
        text = text.replace(key, "[key]")
    text = _PASSWORD.sub("[address]", _KEY.sub("[key]", text))
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _environment() -> list[str]:
    return [value.strip() for name, value in os.environ.items() if _NAMED_KEY.search(name.upper())]


def _long(keys: list[str]) -> list[str]:
    return [key for key in keys if len(key) >= LEAST]
