"""The review's server: its page, the candidates as JSON, their pictures, and decisions; on 127.0.0.1 alone."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ValueError(f"port {port} of 127.0.0.1 cannot be opened ({error}). Choose another `--port`.") from error


class _Handler(BaseHTTPRequestHandler):
    desk: Desk

    def do_GET(self) -> None:
        if not self._is_ours():
            return self._answer(403, "text/plain", b"this page is for 127.0.0.1 alone")
        if self.path in FILES:
            file = Path(__file__).with_name(FILES[self.path])
            return self._answer(200, KINDS[file.suffix], file.read_bytes())
        if self.path == "/candidates.json":
            return self._json(200, self.desk.listing())
        found = re.fullmatch(r"/pictures/([0-9a-f]{32})\.png", self.path)
        if found and found[1] in self.desk.pictures():
            return self._answer(200, "image/png", self.desk.work.picture_path(found[1]).read_bytes())
        return self._answer(404, "text/plain", b"there is nothing here")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/decisions" or not self._is_ours() or length > MOST_BYTES:
            return self._json(403, {"error": "only this page sends decisions, and short ones."})
        try:
            values = json.loads(self.rfile.read(length))
            return self._json(200, self.desk.decide(values))
        except (ValueError, RecursionError) as error:
            return self._json(400, {"error": str(error)})
        except OSError as error:  # no space left
            return self._json(500, {"error": f"the decision was not kept ({error}). Make space, then decide again."})

    def _is_ours(self) -> bool:
        """Whether the browser asks this address by its name and from this page: other sites may not reach it."""
        port = self.server.server_address[1]
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in hosts and (origin is None or origin.removeprefix("http://") in hosts)

    def _json(self, status: int, values: object) -> None:
        self._answer(status, "application/json", json.dumps(values, ensure_ascii=False).encode("utf-8"))

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": POLICY}
        headers |= {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        """Quiet: the terminal is for what the review comes to."""
