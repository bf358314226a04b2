"""What an images endpoint answers: a picture, read within bounds of size and time, or an error and what it means."""

import base64
import binascii
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from PIL import Image

from ...relation_images import FORMATS, open_image
from .generator import Busy, Drawn, Halt, Refused, Unanswered, Undrawn, Unreadable

MAX_BYTES = 256 * 2**20  # of an answer: four times the largest picture that endpoints promise, in base64
QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
# A gateway's word: the server behind it may have drawn the picture.
GATEWAY = (502, 504, 524)


def read_answer(
    chunks: Iterable[bytes], headers: Mapping[str, str], seconds: float, clean: Callable[[str], str]
) -> Drawn:
    """The one picture of an answer.

    Args:
        chunks: of the body. seconds: for all of it: a server may send a byte a minute. clean: takes keys out of texts.
    Raises:
        Unreadable: too long, too slow, no JSON, no picture, a truncated one.
    """
    request_id = headers.get("x-request-id")
    request_id = None if request_id is None else clean(request_id)
    body, end = bytearray(), time.monotonic() + seconds
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_BYTES:
            raise Unreadable("long_answer", f"the answer is longer than {MAX_BYTES} bytes", request_id)
        if time.monotonic() > end:
            raise Unreadable("slow_answer", f"the answer was not complete after {seconds:g} s", request_id)
    try:
        document = json.loads(body)
        if "url" in document["data"][0] and not document["data"][0].get("b64_json"):
            raise ValueError('an address instead of it: add {"response_format": "b64_json"} to the options')
        data = base64.b64decode(document["data"][0]["b64_json"], validate=True)
    except (ValueError, LookupError, TypeError, RecursionError, binascii.Error) as error:
        raise Unreadable("broken_answer", clean(f"no picture in the answer ({error})"), request_id) from None
    try:
        image = open_image(Image.open(io.BytesIO(data), formats=FORMATS))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Unreadable("broken_picture", clean(str(error)), request_id) from None
    return Drawn(image, request_id, _usage(document.get("usage")))


def read_error(error: Any, clean: Callable[[str], str]) -> Undrawn:
    """What an answer of status 4xx or 5xx means for this request and for the others.

    Args:
        error: an `openai.APIStatusError`.
    """
    status, headers = error.status_code, error.response.headers
    told = error.body.get("message") if isinstance(error.body, dict) else None
    code, words = clean(str(error.code or error.type or f"http_{status}")), clean(f"{status}: {told or error.message}")
    if code in QUOTA or status == 402:
        return Halt(code, words)
    if status == 429:
        return Busy(code, words, retry_after(headers), is_general=True)
    if status in (401, 403, 404):
        return Halt(code, words)
    if status in GATEWAY:
        return Unanswered(code, words, error.request_id and clean(error.request_id))
    if status in (408, 409) or status >= 500:
        return Busy(code, words, retry_after(headers))
    return Refused(code, words, error.request_id and clean(error.request_id))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `retry-after-ms` or `retry-after` (seconds or a date) names; None when neither does."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError):
        return None


def _usage(value: Any) -> dict[str, int]:
    """Numbers of tokens alone: texts of a server have no place in our files."""
    if not isinstance(value, dict):
        return {}
    return {k: v for k, v in value.items() if k.endswith("_tokens") and isinstance(v, int) and not isinstance(v, bool)}
