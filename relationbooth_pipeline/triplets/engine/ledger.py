"""Every request that was ever made, in one append-only file: what became of it, and what it counted.

Each line is on the disk before what it announces happens, so that a process killed at any moment loses no money unseen:
a request that was sent and has no outcome counts as spent.
"""

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...parallel import Share
from ..line_files import add_line, split_torn

STATUSES = ("reserved", "sent", "done", "refused", "failed")


@dataclass
class Account:
    """What is known of one request.

    Attributes:
        status: of the last line. candidate: whose it is. picture: its digest, when done. code: why not.
        is_final: not to be sent again by itself: refused for good, or paid for with a broken answer.
        attempts: times it was sent. ended: how many of them when it last ended for good, 0 before.
        images, cost: counted for attempts with an outcome. open_images, open_cost: for one that has none.
    """

    status: str = ""
    candidate: str = ""
    picture: str | None = None
    code: str | None = None
    is_final: bool = False
    attempts: int = 0
    ended: int = 0
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
            self.is_final = False  # whoever is killed now left it without an outcome, as any other
            return
        self.open_images, self.open_cost = 0, 0.0
        self.images, self.cost = self.images + line["images"], self.cost + line["cost"]
        self.picture, self.code = line.get("picture") or self.picture, line.get("code")
        self.is_final = bool(line.get("final"))
        if self.is_final:
            self.ended = self.attempts


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
        torn = split_torn(self.path)[1]
        self.torn = torn[:80].decode("utf-8", "replace") if torn else None
        self.accounts: dict[str, Account] = {}
        self._lock = threading.Lock()
        for key, entry in _entries(root):
            self.accounts.setdefault(key, Account()).note(entry)

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
        with self._lock:
            add_line(self.path, entry)
            self.accounts.setdefault(key, Account()).note(entry)

    def account(self, key: str) -> Account:
        return self.accounts.get(key) or Account()

    def spent(self, candidates: Iterable[str]) -> tuple[int, float]:
        """(images, cost) counted for these candidates' requests, those without an outcome among them."""
        wanted = {*candidates}
        own = [account for account in self.accounts.values() if account.candidate in wanted]
        return sum(a.images + a.open_images for a in own), sum(a.cost + a.open_cost for a in own)


def _entries(root: Path) -> list[tuple[str, dict[str, Any]]]:
    """(key, line) of all files by their time, and of one file in its own order, even where a clock was set back.

    A file's name says nothing about when: it depends on how many shares there were.
    """
    found = []
    for file in sorted(root.glob("ledger*.jsonl")):
        time = 0.0
        for number, line in enumerate(split_torn(file)[0].splitlines(), start=1):
            try:
                entry = json.loads(line)
                time = max(time, datetime.fromisoformat(entry["time"]).timestamp())
                Account().note(entry)  # a line that lacks a field is refused here, where its number is known
                found.append((time, str(entry["key"]), entry))
            except (ValueError, LookupError, TypeError) as error:
                raise ValueError(
                    f"`{file.name}`, line {number}, is no line of a ledger ({error}). Nothing is sent while it is "
                    "not known what was paid for: mend the line, or begin in another folder."
                ) from error
    return [(key, entry) for _, key, entry in sorted(found, key=lambda line: line[0])]
