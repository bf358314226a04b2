"""What a hostile visitor tries: paths, foreign pages, large files, other people's pictures."""

import json
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from relationbooth_pipeline.app.server import check_address

from .conftest import PHOTOS, REQUEST

ROOT = Path(__file__).parents[3]


def ask(address, path, data=None, **headers):
    """(status, headers, body) of a request."""
    names = {"content_type": "Content-Type", "origin": "Origin", "host": "Host"}
    headers = {names[name]: value for name, value in headers.items()}
    request = urllib.request.Request(address.rstrip("/") + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def upload(address, name, content, kind="application/octet-stream", **headers):
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
    head += f"Content-Type: {kind}\r\n\r\n"
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return ask(address, "/gradio_api/upload", body, content_type=f"multipart/form-data; boundary={boundary}", **headers)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", str(ROOT / "pyproject.toml"), str(ROOT / "README.md"), "../../etc/passwd"]
)
def test_no_file_of_this_machine_is_served(address, path):
    for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/"):
        status, _, body = ask(address, route + path)
        assert status in (403, 404, 405) and b"root:" not in body and b"[project]" not in body


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "docs" / "images" / "demo.png"), PHOTOS[0]])
def test_a_path_in_place_of_an_upload_is_refused(address, path):
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for photos in ([photo], [path], [{"path": path}]):
        data = json.dumps({"data": [photos, {"prompt": "a cat", "phrase": ["cat"], "steps": 1}]}).encode()
        status, _, body = ask(address, "/gradio_api/call/draw", data, content_type="application/json")
        told = body.decode()
        if status == 200:
            _, _, stream = ask(address, f"/gradio_api/call/draw/{json.loads(body)['event_id']}")
            told = stream.decode()
        assert "event: complete" not in told and '"sha256"' not in told


def test_a_foreign_page_or_name_is_answered_with_nothing(address):
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"host": "evil.example"}):
        status, found, body = ask(address, "/", **headers)
        assert status == 403 and b"gradio" not in body and found["Access-Control-Allow-Origin"] is None
        assert upload(address, "a.png", b"x", **headers)[0] == 403
    assert ask(address, "/", origin=address.rstrip("/"))[0] == 200


def test_the_page_may_speak_to_its_own_host_alone_and_stand_in_no_frame(address):
    _, headers, body = ask(address, "/")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_large_uploads_are_refused(address):
    assert upload(address, "large.png", b"\0" * 25_000_000)[0] == 413


@pytest.mark.parametrize(("name", "kind"), [("a.html", "text/html"), ("a.svg", "image/svg+xml")])
def test_an_uploaded_page_never_opens_as_one(address, name, kind):
    status, _, body = upload(address, name, b"<script>alert(1)</script>", kind)
    assert status == 200
    status, headers, _ = ask(address, "/gradio_api/file=" + json.loads(body)[0])
    assert status == 200
    assert headers["Content-Disposition"].startswith("attachment") and "html" not in headers["Content-Type"]


def test_names_of_uploads_stay_names(address):
    status, _, body = upload(address, "../../../evil.png", b"x")
    assert status == 200 and Path(json.loads(body)[0]).name == "evil.png" and ".." not in json.loads(body)[0]


def test_other_people_s_pictures_cannot_be_listed_or_guessed(address, studio):
    """Every picture lies in a folder named by a random or content hash; folders are not listed."""
    one = Client(address, verbose=False)
    files = [handle_file(path) for path in PHOTOS]
    path, _ = one.predict(files, {**REQUEST, "steps": 1}, api_name="/draw")
    name = Path(path).name
    other = Client(address, verbose=False)
    for route in ("/gradio_api/file=", "/gradio_api/file=" + name, f"/gradio_api/file=../{name}"):
        assert ask(address, route)[0] in (403, 404, 405, 422)
    assert other.session_hash != one.session_hash
    endpoints = set(other.view_api(return_format="dict")["named_endpoints"])
    assert endpoints == {"/draw"}  # nothing tells of sessions, histories or files


def test_others_need_a_password():
    check_address("127.0.0.1", None)
    with pytest.raises(ValueError, match="`--host 0.0.0.0` lets others reach this page: set a password"):
        check_address("0.0.0.0", None)
    with pytest.raises(ValueError, match="at least 8 characters, got 4"):
        check_address("0.0.0.0", "1234")
    check_address("0.0.0.0", "long enough")
