"""A server on 127.0.0.1 that answers its own page alone: not other sites, nor other names for this address."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def local_server(handler: type[BaseHTTPRequestHandler], port: int) -> ThreadingHTTPServer:
    """A server that is not yet serving; port 0: any that is free.

    Raises:
        ValueError: the port cannot be opened.
    """
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise ValueError(f"port {port} of 127.0.0.1 cannot be opened ({error}). Choose another `--port`.") from error


class LocalHandler(BaseHTTPRequestHandler):
    """What every handler of ours has. A handler asks `is_ours` before anything else.

    Attributes:
        policy: Content-Security-Policy of all answers. most_bytes: of what is posted.
    """

    policy: str
    most_bytes: int

    def is_ours(self) -> bool:
        """Whether the browser asks this address by its name and from this page.

        A form of another site may be posted here without being asked, and another name may be made to mean 127.0.0.1.
        """
        port = self.server.server_address[1]
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in hosts and (origin is None or origin.removeprefix("http://") in hosts)

    def posted(self) -> bytes | None:
        """What was posted; None if its length is not told, or is more than `most_bytes`."""
        length = self.headers.get("Content-Length", "")
        return self.rfile.read(int(length)) if length.isdecimal() and int(length) <= self.most_bytes else None

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": self.policy}
        headers |= {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        """Quiet: who votes is nobody's business on a terminal, and a review's terminal is for what it comes to."""
