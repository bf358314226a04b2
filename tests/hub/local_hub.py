"""A Hugging Face Hub on 127.0.0.1, standard library alone: what huggingface_hub and diffusers ask of the real one.

Repositories are kept in memory as {commit: {path: bytes}}. `faults` holds functions that may answer a request in place
of the Hub; `log` holds every request. Uploads with the xet protocol are not offered: clients set HF_HUB_DISABLE_XET.
"""

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_test"
_LARGE = (".safetensors", ".bin", ".png", ".jpg")  # what .gitattributes of new repositories give to LFS


class LocalHub(ThreadingHTTPServer):
    """`url` is its address; `with` starts and stops it.

    Attributes:
        repositories: (type, id) → {"commits", "main", "private", "gated"}.
        faults: asked for every request (method, path, headers); the first that returns something answers with it:
            an HTTP status, or a callable that writes to the handler.
        scripts: name → faults that a client sets by asking for /control/<name>.
    """

    daemon_threads = True

    def __init__(self):
        self.repositories: dict = {}
        self.objects: dict[str, bytes] = {}
        self.log: list[tuple[str, str]] = []
        self.faults: list[Callable] = []
        self.scripts: dict[str, list[Callable]] = {"none": []}
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def commit(self, repository: tuple[str, str], files: dict[str, bytes]) -> str:
        """A new head of `main`; its id."""
        empty = {"commits": {}, "main": None, "private": False, "gated": False}
        found = self.repositories.setdefault(repository, empty)
        told = repr([(p, _sha256(c)) for p, c in sorted(files.items())]) + str(len(found["commits"]))
        found["main"] = hashlib.sha1(told.encode()).hexdigest()
        found["commits"][found["main"]] = files
        return found["main"]

    def environment(self, home) -> dict[str, str]:
        """What a client's process needs so that it asks this Hub, with an empty cache in `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_large(path: str, size: int) -> bool:
    return size > 10_000_000 or path.endswith(_LARGE)


def _oid(path: str, content: bytes) -> str:
    if _is_large(path, len(content)):
        return _sha256(content)
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status: int = 200, body=b"", **headers: str):
        """Send JSON, or bytes as they are; keywords are headers with _ for -."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str, message: str):
        self.reply(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        self.path_only = urllib.parse.unquote(url.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.log.append((self.command, self.path_only))
        if self.path_only.startswith("/control/"):
            self.server.faults = self.server.scripts[self.path_only.removeprefix("/control/")]
            return self.reply()
        for fault in self.server.faults:
            answer = fault(self.command, self.path_only, self.headers)
            if callable(answer):
                return answer(self)
            if answer is not None:
                return self.reply(answer, {"error": "a fault of this test"})
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        reading = self.command in ("GET", "HEAD") or "/paths-info/" in self.path_only
        if not allowed and not reading and not self.path_only.startswith("/objects/"):
            return self.refuse(401, "Unauthorized", "Invalid credentials in Authorization header")
        for pattern, route in _ROUTES:
            if found := re.fullmatch(pattern, self.path_only):
                return route(self, *found.groups())
        self.refuse(404, "NoRoute", f"this Hub has no route {self.path_only}")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def repository(self, kind: str, name: str):
        """The repository's record; None after a refusal was sent."""
        found = self.server.repositories.get((kind, name))
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found["private"] and not allowed):
            return self.refuse(404 if allowed else 401, "RepoNotFound", "Repository not found")
        return found

    def revision(self, repository: dict, name: str) -> str | None:
        commit = repository["main"] if name == "main" else name
        if commit in repository["commits"]:
            return commit
        return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {name}")

    def create(self):
        data = json.loads(self.body)
        kind, name = data.get("type", "model"), f"{data.get('organization') or 'me'}/{data['name']}"
        if (kind, name) in self.server.repositories:
            return self.reply(409, {"error": "You already created this repo", "url": f"{self.server.url}/{name}"})
        self.server.commit((kind, name), {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.server.repositories[kind, name]["private"] = bool(data.get("private"))
        prefix = "" if kind == "model" else f"{kind}s/"
        self.reply(body={"url": f"{self.server.url}/{prefix}{name}", "name": name, "id": "1"})

    def large_object(self, oid: str):
        if self.command != "PUT":
            return self.content(self.server.objects[oid])
        if _sha256(self.body) != oid:
            return self.reply(400, {"error": "the content has another hash"})
        self.server.objects[oid] = self.body
        self.reply()

    def large_batch(self, kind: str | None, name: str):
        objects = []
        for entry in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/objects/{entry['oid']}"}}
            missing = entry["oid"] not in self.server.objects
            objects.append({"oid": entry["oid"], "size": entry["size"], **({"actions": upload} if missing else {})})
        self.reply(body={"transfer": "basic", "objects": objects})

    def resolve(self, kind: str | None, name: str, revision: str, file: str):
        repository = self.repository((kind or "models/")[:-2], name)
        if repository is None:
            return None
        if repository["gated"] and self.headers.get("Authorization") != "Bearer hf_allowed":
            return self.refuse(403, "GatedRepo", f"Access to model {name} is restricted")
        commit = self.revision(repository, revision)
        if commit is None:
            return None
        content = repository["commits"][commit].get(file)
        if content is None:
            return self.reply(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        self.content(content, X_Repo_Commit=commit, ETag=f'"{_oid(file, content)}"')

    def content(self, content: bytes, **headers: str):
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(found[1]), int(found[2] or len(content) - 1)
            part = f"bytes {first}-{last}/{len(content)}"
            return self.reply(206, content[first : last + 1], Content_Range=part, Accept_Ranges="bytes", **headers)
        self.reply(200, content, Accept_Ranges="bytes", **headers)

    def information(self, kind: str, name: str, revision: str | None):
        repository = self.repository(kind, name)
        commit = None if repository is None else self.revision(repository, revision or "main")
        if commit is None:
            return None
        told = {"_id": "1", "id": name, "modelId": name, "sha": commit, "private": repository["private"], "tags": []}
        told |= {"gated": repository["gated"], "disabled": False, "downloads": 0, "likes": 0}
        self.reply(body={**told, "siblings": [{"rfilename": path} for path in repository["commits"][commit]]})

    def tree(self, kind: str, name: str, revision: str, folder: str | None):
        repository = self.repository(kind, name)
        commit = None if repository is None else self.revision(repository, revision)
        if commit is None:
            return None
        entries = []
        for path, content in repository["commits"][commit].items():
            if path.startswith(folder or ""):
                entry = {"type": "file", "path": path, "size": len(content), "oid": _oid(path, content)}
                large = {"lfs": {"oid": _sha256(content), "size": len(content), "pointerSize": 130}}
                entries.append(entry | (large if _is_large(path, len(content)) else {}))
        self.reply(body=entries)

    def preupload(self, kind: str, name: str, revision: str):
        repository = self.repository(kind, name)
        files, told = repository["commits"][repository["main"]], []
        for entry in json.loads(self.body)["files"]:
            path, mode = entry["path"], "lfs" if _is_large(entry["path"], entry["size"]) else "regular"
            oid = _oid(path, files[path]) if path in files else None
            told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply(body={"files": told})

    def commit(self, kind: str, name: str, revision: str):
        repository = self.server.repositories[kind, name]
        files = dict(repository["commits"][repository["main"]])
        for line in self.body.splitlines():
            key, value = (json.loads(line)[part] for part in ("key", "value"))
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"], None)
        commit = self.server.commit((kind, name), files)
        url = f"{self.server.url}/{name}/commit/{commit}"
        self.reply(body={"success": True, "commitOid": commit, "commitUrl": url, "pullRequestUrl": None})


_ID, _API = r"([^/]+/[^/]+)", r"/api/(model|dataset|space)s/([^/]+/[^/]+)"
_ROUTES = [
    (r"/api/validate-yaml", lambda handler: handler.reply(body={"errors": [], "warnings": []})),
    (r"/api/whoami-v2", lambda handler: handler.reply(body={"name": "me", "auth": {"accessToken": {"role": "write"}}})),
    (r"/api/repos/create", _Handler.create),
    (r"/objects/([0-9a-f]{64})", _Handler.large_object),
    (rf"/(?:(datasets|spaces)/)?{_ID}\.git/info/lfs/objects/batch", _Handler.large_batch),
    (rf"{_API}(?:/revision/([^/]+))?", _Handler.information),
    (rf"{_API}/tree/([^/]+)(?:/(.+))?", _Handler.tree),
    (rf"{_API}/preupload/([^/]+)", _Handler.preupload),
    (rf"{_API}/commit/([^/]+)", _Handler.commit),
    (rf"/(datasets/|spaces/)?{_ID}/resolve/([^/]+)/(.+)", _Handler.resolve),
]
