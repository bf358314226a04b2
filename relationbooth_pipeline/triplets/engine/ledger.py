"""Every request that was ever made, in one append-only file: what became of it, and what it counted.

Each line is on the disk before what it announces happens, so that a process killed at any moment loses no money unseen:
a request that was sent and has no outcome counts as spent.
"""

import errno
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...parallel import Share
from ...relation_files import flush

STATUSES = ("reserved", "sent", "done", "refused", "failed")


@dataclass
class Account:
    """What is known of one request.

    Attributes:
        status: of the last line. candidate: whose it is. picture: its digest, when done. code: why not.
        is_final: not to be sent again by itself: refused for good, or paid for with a broken answer.
        attempts: times it was sent.
        images, cost: counted for attempts with an outcome. open_images, open_cost: for one that has none.
    """

    status: str = ""
    candidate: str = ""
    picture: str | None = None
    code: str | None = None
    is_final: bool = False
    attempts: int = 0
    images: int = 0
    cost: float = 0.0
    open_images: int = 0
    open_cost: float = 0.0

    @property
    def is_lost(self) -> bool:
        """Perhaps drawn and paid for, without an answer."""
        return self.open_images > 0 or (self.status == "failed" and self.images > 0 and not self.is_final)

    def note(self, line: dict[str, Any]) -> None:
        self.status, self.candidate = line["status"], line["candidate"]
        if self.status == "reserved":
            return
        if self.status == "sent":
            self.images, self.cost = self.images + self.open_images, self.cost + self.open_cost
            self.open_images, self.open_cost = line["images"], line["cost"]
            self.attempts += 1
            return
        self.open_images, self.open_cost = 0, 0.0
        self.images, self.cost = self.images + line["images"], self.cost + line["cost"]
        self.picture, self.code = line.get("picture"), line.get("code")
        self.is_final = bool(line.get("final"))


class Ledger:
    """Lines of a work folder's requests; of several processes, each writes a file of its own and reads all.

    Args:
        root: the work folder. share: this process's, which names its file.
    Attributes:
        torn: the beginning of a last line that a killed process left, which is passed over and, with the first line
            that is written, dropped; None when there was none.
    Raises:
        ValueError: a line that is no ledger's.
    """

    def __init__(self, root: Path, share: Share | None = None):
        share = share or Share()
        own = "ledger.jsonl" if share.count == 1 else f"ledger-{share.index}-of-{share.count}.jsonl"
        self.path = root / own
        self.torn = _torn_line(self.path)
        self.accounts: dict[str, Account] = {}
        self._lock, self._is_mended = threading.Lock(), False
        for file in sorted(root.glob("ledger*.jsonl")):
            for number, line in enumerate(_whole_lines(file), start=1):
                try:
                    entry = json.loads(line)
                    self.accounts.setdefault(entry["key"], Account()).note(entry)
                except (ValueError, LookupError, TypeError) as error:
                    raise ValueError(
                        f"`{file.name}`, line {number}, is no line of a ledger ({error}). Nothing is sent while it is "
                        "not known what was paid for: mend the line, or begin in another folder."
                    ) from error

    def write(self, status: str, key: str, candidate: str, images: int = 0, cost: float = 0.0, **more: Any) -> None:
        """Add a line, which is on the disk when this returns.

        Args:
            status: of `STATUSES`. images, cost: for "sent" what it may count, for outcomes what it does.
            more: "picture", "code", "message", "request_id", "usage", "final", …
        """
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        entry = {
            "time": now,
            "status": status,
            "key": key,
            "candidate": candidate,
            "images": images,
            "cost": cost,
            **more,
        }
        data = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            is_new = not self.path.exists()
            if self.torn is not None and not self._is_mended:
                os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
                self._is_mended = True
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                whole = os.fstat(handle).st_size
                if os.write(handle, data) != len(data):  # a full disk takes a part, to which the next line would join
                    os.ftruncate(handle, whole)
                    raise OSError(errno.ENOSPC, "No space left on device")
                os.fsync(handle)
            finally:
                os.close(handle)
            if is_new:
                flush(self.path.parent)
            self.accounts.setdefault(key, Account()).note(entry)

    def account(self, key: str) -> Account:
        return self.accounts.get(key) or Account()

    def spent(self, candidates: Iterable[str]) -> tuple[int, float]:
        """(images, cost) counted for these candidates' requests, those without an outcome among them."""
        wanted = {*candidates}
        own = [account for account in self.accounts.values() if account.candidate in wanted]
        return sum(a.images + a.open_images for a in own), sum(a.cost + a.open_cost for a in own)


def _whole_lines(file: Path) -> list[bytes]:
    """Lines that end; another process may be writing its last one."""
    return file.read_bytes().split(b"\n")[:-1]


def _torn_line(file: Path) -> str | None:
    """The beginning of what stands behind the last line's end."""
    torn = file.read_bytes().rsplit(b"\n", 1)[-1] if file.is_file() else b""
    return torn[:80].decode("utf-8", "replace") if torn else None
