"""A blind comparison in the browser: two pictures of a case in an order that only the server knows, and a vote."""

import hashlib
import html
import json
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from ...triplets.local_server import LocalHandler, local_server
from ..cases import Case, CaseFile
from ..systems import picture_path
from .page import PHOTO_SIDE, shrunk
from .votes import VOTES, Vote, add_vote, read_votes

SIDE = 512  # pixels of a judged picture
MOST_BYTES = 4096  # of a posted vote
MOST_LETTERS = 60  # of a voter's name
# No script at all; the pictures are in the page.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Which one?</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 24px auto; padding: 0 16px; color: #202124; }}
.pair {{ display: flex; gap: 16px; flex-wrap: wrap; }} .pair img {{ width: 512px; max-width: 100%; display: block; }}
button {{ font: inherit; padding: 8px 18px; margin: 8px 0; cursor: pointer; }} .faint {{ color: #5f6368; }}
figure {{ display: inline-block; margin: 0 12px 12px 0; }} figure img {{ height: 120px; display: block; }}
</style>{body}</html>"""
_ASK_NAME = '<h1>Your name?</h1><form><input name="voter" required> <button>Start</button></form>'


def ballot_server(root: Path, cases: CaseFile, count: int, first: str, second: str, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 that is not yet serving.

    Raises:
        ValueError: the two are one system, or one of them lacks pictures; the port is taken.
    """
    if first == second:
        raise ValueError(f"`first` and `second` must be two systems, got {first!r} twice.")
    for system in (first, second):
        paths = [picture_path(root, system, case.id, n) for case in cases.cases for n in range(count)]
        missing = sum(not path.is_file() for path in paths)
        if missing:
            raise ValueError(f"the system {system!r} lacks {missing} of {len(paths)} pictures in `{root}`.")

    class Handler(_Handler):
        ballot = Ballot(root, cases, count, first, second)

    return local_server(Handler, port)


class Ballot:
    """Which pair a voter sees next, and what their vote means."""

    def __init__(self, root: Path, cases: CaseFile, count: int, first: str, second: str):
        self.root, self.cases, self.first, self.second = root, cases, first, second
        self.pairs = [(case, number) for case in cases.cases for number in range(count)]

    def next_pair(self, voter: str) -> tuple[Case, int] | None:
        """The first pair, in an order of the voter's own, that they have not voted on."""
        systems = {self.first, self.second}
        done = {
            (v.case, v.number)
            for v in read_votes(self.root / VOTES).votes
            if v.voter == voter and {v.first, v.second} == systems
        }
        left = [pair for pair in self.pairs if (pair[0].id, pair[1]) not in done]
        return min(left, key=lambda pair: self._hash(voter, *pair, "order")) if left else None

    def on_the_left(self, voter: str, case: Case, number: int) -> str:
        """The system on the left: decided by voter and pair, so that reloading shows the same."""
        return (self.first, self.second)[self._hash(voter, case, number, "side")[0] % 2]

    def vote(self, voter: str, case_id: str, number: int, side: str) -> None:
        """Keep a vote for "left", "right" or "tie".

        Raises:
            ValueError: no such pair or side.
        """
        case = next((case for case, n in self.pairs if (case.id, n) == (case_id, number)), None)
        if case is None or side not in ("left", "right", "tie"):
            raise ValueError("no such pair or side.")
        left_is_first = self.on_the_left(voter, case, number) == self.first
        choice = "tie" if side == "tie" else ("first" if (side == "left") == left_is_first else "second")
        add_vote(self.root / VOTES, Vote(voter, case_id, number, self.first, self.second, choice))

    def page(self, voter: str) -> str:
        if not voter:
            return _PAGE.format(body=_ASK_NAME)
        pair = self.next_pair(voter)
        if pair is None:
            return _PAGE.format(body="<h1>Thank you, that was all.</h1>")
        case, number = pair
        left = self.on_the_left(voter, case, number)
        right = self.second if left == self.first else self.first
        photos = "".join(
            f'<figure><img src="{shrunk(path, PHOTO_SIDE)}" alt="">'
            f"<figcaption>{html.escape(phrase)}</figcaption></figure>"
            for path, phrase in zip(self.cases.image_prompts(case), case.phrases)
        )
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(str(value), quote=True)}">'
            for name, value in (("voter", voter), ("case", case.id), ("number", number))
        )
        pictures = "".join(
            f'<div><img src="{shrunk(picture_path(self.root, system, case.id, number), SIDE)}" alt="{side}">'
            f'<button name="side" value="{side}">this one</button></div>'
            for side, system in (("left", left), ("right", right))
        )
        body = (
            f"<p class=faint>Which picture shows these objects doing what the sentence says?</p>"
            f"<h1>{html.escape(case.prompt)}</h1>{photos}"
            f'<form method="post">{hidden}<div class="pair">{pictures}</div>'
            '<p><button name="side" value="tie">no difference</button></p></form>'
        )
        return _PAGE.format(body=body)

    def _hash(self, voter: str, case: Case, number: int, what: str) -> bytes:
        return hashlib.sha256(json.dumps([voter, case.id, number, what]).encode()).digest()


class _Handler(LocalHandler):
    ballot: Ballot
    policy, most_bytes = POLICY, MOST_BYTES

    def do_GET(self) -> None:
        if not self.is_ours():
            return self._page(403, "this page is for 127.0.0.1 alone")
        query = parse_qs(urlparse(self.path).query)
        return self._page(200, self.ballot.page(query.get("voter", [""])[0][:MOST_LETTERS].strip()))

    def do_POST(self) -> None:
        body = self.posted() if self.is_ours() else None
        if body is None:
            return self._page(403, "only this page sends votes, and short ones")
        form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        voter = form.get("voter", "")[:MOST_LETTERS].strip()
        try:
            if not voter:
                raise ValueError("a vote needs a name.")
            self.ballot.vote(voter, form.get("case", ""), int(form.get("number", "-1")), form.get("side", ""))
        except ValueError as error:
            return self._page(400, html.escape(str(error)))
        except OSError as error:  # no space left
            told = html.escape(str(error))
            return self._page(500, f"the vote was not kept ({told}). Make space, go back, and vote again.")
        return self._page(200, self.ballot.page(voter))

    def _page(self, status: int, text: str) -> None:
        self.answer(status, "text/html; charset=utf-8", text.encode("utf-8"))
