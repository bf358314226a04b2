"""The review's server: its page, the candidates as JSON, their pictures, and decisions; on 127.0.0.1 alone."""

import json
import re
from http.server import ThreadingHTTPServer
from pathlib import Path

from ..local_server import LocalHandler, local_server
from .desk import Desk

FILES = {"/": "desk.html", "/desk.css": "desk.css", "/desk.js": "desk.js"}
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
MOST_BYTES = 262_144  # of a decision: eight objects with all their keypoints take a tenth of it
# Nothing from elsewhere is loaded, no script but ours runs, and no other page may show this one.
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def review_server(desk: Desk, port: int = 0) -> ThreadingHTTPServer:
    """A server that is not yet serving; port 0: any that is free.

    Raises:
        ValueError: the port cannot be opened.
    """

    class Handler(_Handler):
        pass

    Handler.desk = desk
    return local_server(Handler, port)


class _Handler(LocalHandler):
    desk: Desk
    policy, most_bytes = POLICY, MOST_BYTES

    def do_GET(self) -> None:
        if not self.is_ours():
            return self.answer(403, "text/plain", b"this page is for 127.0.0.1 alone")
        if self.path in FILES:
            file = Path(__file__).with_name(FILES[self.path])
            return self.answer(200, KINDS[file.suffix], file.read_bytes())
        if self.path == "/candidates.json":
            return self._json(200, self.desk.listing())
        found = re.fullmatch(r"/pictures/([0-9a-f]{32})\.png", self.path)
        if found and found[1] in self.desk.pictures():
            return self.answer(200, "image/png", self.desk.work.picture_path(found[1]).read_bytes())
        return self.answer(404, "text/plain", b"there is nothing here")

    def do_POST(self) -> None:
        body = self.posted() if self.path == "/decisions" and self.is_ours() else None
        if body is None:
            return self._json(403, {"error": "only this page sends decisions, and short ones."})
        try:
            values = json.loads(body)
            return self._json(200, self.desk.decide(values))
        except (ValueError, RecursionError) as error:
            return self._json(400, {"error": str(error)})
        except OSError as error:  # no space left
            return self._json(500, {"error": f"the decision was not kept ({error}). Make space, then decide again."})

    def _json(self, status: int, values: object) -> None:
        self.answer(status, "application/json", json.dumps(values, ensure_ascii=False).encode("utf-8"))
