"""An images endpoint on this machine that misbehaves as told, and knows what it was paid for."""

import base64
import email
import hashlib
import io
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

PROMPT_OF_ALL = "*"
SIDE = 16


def picture_for(*parts: bytes) -> Image.Image:
    """Colours that tell the request."""
    data = hashlib.sha256(b"\0".join(parts)).digest() * (SIDE * SIDE * 3 // 32)
    return Image.frombytes("RGB", (SIDE, SIDE), data)


class MockEndpoint:
    """Answers with pictures; `script` has the behaviours that a prompt (or all, "*") meets before that.

    Attributes:
        asked: (path, prompt, headers, files) of every request. paid: pictures drawn, by idempotency key.
        knows_keys: whether a repeated key is answered from memory, unpaid. delay: seconds of work.
    """

    def __init__(self, knows_keys: bool = True, delay: float = 0.0):
        self.script: dict[str, list] = {}
        self.asked, self.paid, self.knows_keys, self.delay = [], Counter(), knows_keys, delay
        self.lock = threading.Lock()
        mock = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                mock.answer(self)

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 64

            def handle_error(self, request, client_address):
                pass  # a client that was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def next_behaviour(self, prompt: str):
        with self.lock:
            for name in (prompt, PROMPT_OF_ALL):
                if self.script.get(name):
                    return self.script[name].pop(0)
        return "ok"

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        fields, files = read_request(handler.headers["Content-Type"], body)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self.lock:
            self.asked.append((handler.path, fields["prompt"], headers, files))
        behaviour = self.next_behaviour(fields["prompt"])
        kind, *more = behaviour if isinstance(behaviour, tuple) else (behaviour,)
        if kind == "dies":  # before it draws
            handler.close_connection = True
            return
        if kind in ERRORS:
            status, code, words = ERRORS[kind]
            extra = {"Retry-After": str(more[0])} if more else {}
            words = words.replace("KEY", headers.get("authorization", "").removeprefix("Bearer "))
            return send(handler, status, json.dumps({"error": {"code": code, "message": words}}).encode(), extra)
        time.sleep(self.delay)
        key = headers.get("idempotency-key", "")
        with self.lock:
            if not (self.knows_keys and self.paid[key]):
                self.paid[key] += 1
        if kind == "dies_after":
            handler.close_connection = True
            return
        buffer = io.BytesIO()
        picture_for(fields["prompt"].encode(), *(data for _, data in files)).save(buffer, "PNG")
        data = buffer.getvalue()
        if kind == "truncated":
            data = data[: len(data) // 2]
        document = {"created": 0, "data": [{"b64_json": base64.b64encode(data).decode()}], "usage": {"total_tokens": 7}}
        if kind == "address":
            document["data"] = [{"url": "http://127.0.0.1/picture.png"}]
        answer = json.dumps(document).encode()
        if kind == "broken_json":
            answer = answer[:-20]
        identity = {"x-request-id": "req-" + hashlib.sha256(body_identity(fields, files)).hexdigest()[:12]}
        if kind == "slow_body":
            return send(handler, 200, answer, identity, pause=more[0])
        if kind == "cut_body":
            return send(handler, 200, answer, identity, length=len(answer) + 50)
        send(handler, 200, answer, identity)


ERRORS = {
    "busy": (429, "rate_limit_exceeded", "too many requests"),
    "quota": (429, "insufficient_quota", "you have no money left"),
    "moderation": (400, "moderation_blocked", "this prompt is not allowed"),
    "down": (503, "overloaded", "try later"),
    "gateway": (504, "gateway_timeout", "nobody knows"),
    "denied": (401, "invalid_api_key", "Incorrect API key provided: KEY"),
}


def body_identity(fields: dict, files: list) -> bytes:
    return json.dumps(fields, sort_keys=True).encode() + b"".join(data for _, data in files)


def read_request(content_type: str, body: bytes) -> tuple[dict, list[tuple[str, bytes]]]:
    """(fields, [(field, bytes)] of files) of a JSON or multipart body."""
    if content_type.startswith("application/json"):
        return json.loads(body), []
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields, files = {}, []
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if part.get_filename():
            files.append((name, data))
        else:
            fields[name] = data.decode()
    return fields, files


def send(handler, status, body, extra, pause=None, length=None):
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(length or len(body)))
    for name, value in extra.items():
        handler.send_header(name, value)
    handler.end_headers()
    if length:
        handler.close_connection = True
    if pause is None:
        handler.wfile.write(body)
        return
    for start in range(0, len(body), 64):
        time.sleep(pause)
        handler.wfile.write(body[start : start + 64])
        handler.wfile.flush()
