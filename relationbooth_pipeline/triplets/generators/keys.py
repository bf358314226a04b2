"""Keys stay in the environment: what looks like one is refused where it is written down, and taken out of messages."""

import json
import re
from typing import Any

# As providers write them (sk-…, hf_…, r8_…, AIza…, Bearer …), and addresses that hold a password or a query.
_KEY = re.compile(
    r"\bsk-[A-Za-z0-9_-]{6,}|\b(?:pk|rk|api|key)-[A-Za-z0-9_-]{16,}|\b(?:hf|r8|gsk|xai)_[A-Za-z0-9]{8,}|\bAIza[\w-]{20,}|Bearer\s+\S{6,}"
)
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]+@")
LONGEST = 300  # characters of another's message


def refuse_keys(where: str, value: Any) -> None:
    """Raise a ValueError when a text, or any text within lists and fields, holds what looks like a key or password.

    The message says where, never what.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if _KEY.search(text) or _PASSWORD.search(text):
        raise ValueError(
            f"`{where}` holds what looks like a key or a password. Keys come from the environment alone, such as "
            "OPENAI_API_KEY: take it out, and make a new one where others could read it."
        )


def without_keys(text: str, *keys: str | None) -> str:
    """Another's words, cut, in one line, without `keys` and whatever else looks like one."""
    for key in keys:
        if key:
            text = text.replace(key, "[key]")
    text = _PASSWORD.sub("[address]", _KEY.sub("[key]", text))
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
