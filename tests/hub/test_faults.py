"""What goes wrong on the way from the Hub, and to it: each ends in a sentence, and with the pipeline as it was."""

import json
import time

from tests.hub.conftest import NAME

LOADING = """
import json, sys, urllib.request
import torch
from relationbooth_pipeline import RelationBoothPipeline, miniature

name, address = sys.argv[1:3]
pipe = RelationBoothPipeline.from_pretrained(miniature.path())
pipe.load_relation_adapter(miniature.path() / "relation_adapter")
adapter, told = pipe.relation_adapter, {}
for script in json.loads(sys.argv[3]):
    urllib.request.urlopen(f"{address}/control/{script}")
    for kind in ("adapter", "lora"):
        try:
            if kind == "adapter":
                pipe.load_relation_adapter(name, subfolder="relation_adapter", force_download=True)
            else:
                pipe.load_lora_weights(name, subfolder="relation_loras/hugging", force_download=True)
        except Exception as error:
            told[f"{script} {kind}"] = [type(error).__name__, str(error)]
        assert pipe.relation_adapter is adapter and not pipe.get_list_adapters(), script
urllib.request.urlopen(f"{address}/control/none")
pipe.load_relation_adapter(name, subfolder="relation_adapter")
pipe.load_lora_weights(name, subfolder="relation_loras/hugging")
assert pipe.heaviest_relation().relation == "hugging"
print(json.dumps(told))
"""


def cut_off(handler):
    """Promise more than is sent, then hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.send_header("ETag", '"x"')
    handler.end_headers()
    handler.wfile.write(b"half")
    handler.close_connection = True


def slow(method, path, headers):
    if "/resolve/" in path:
        time.sleep(4)


def gated(handler):
    handler.refuse(403, "GatedRepo", "Access to this model is restricted")


def test_faults_while_loading_leave_everything_whole(hub, client, published, tmp_path):
    resolved = lambda path: "/resolve/" in path  # noqa: E731
    hub.scripts |= {
        "gated": [lambda m, p, h: gated if resolved(p) else None],
        "private": [lambda m, p, h: lambda x: x.refuse(401, "RepoNotFound", "Not found")],
        "missing": [lambda m, p, h: 404 if resolved(p) else None],
        "down": [lambda m, p, h: 503],
        "cut": [lambda m, p, h: cut_off if resolved(p) and m == "GET" and p.endswith(".safetensors") else None],
        "slow": [slow],
    }
    scripts = [name for name in hub.scripts if name != "none"]
    try:
        output = client(LOADING, tmp_path, NAME, hub.url, json.dumps(scripts),
                        HF_HUB_DOWNLOAD_TIMEOUT="1", HF_HUB_ETAG_TIMEOUT="1")  # fmt: skip
    finally:
        hub.faults = []
    told = json.loads(output.splitlines()[-1])
    assert set(told) == {f"{script} {kind}" for script in scripts for kind in ("adapter", "lora")}
    for name, (kind, sentence) in told.items():
        if name.endswith("adapter"):
            assert kind == "ValueError" and f"`{NAME}`" in sentence, (name, kind, sentence)
    assert "accept its conditions" in told["gated adapter"][1]
    assert "try again" in told["down adapter"][1]


UPLOADING = """
import os, sys
from pathlib import Path
from huggingface_hub import HfApi
from hub_cards.publish import main
import urllib.request

folder, name, address = sys.argv[1:4]
api = HfApi()
urllib.request.urlopen(f"{address}/control/{sys.argv[4]}")
status = main(["upload", folder, name])
urllib.request.urlopen(f"{address}/control/none")
print("status", status)
"""


def test_an_upload_that_fails_leaves_the_old_head_and_can_be_repeated(hub, client, published, tmp_path):
    repository = hub.repositories["model", NAME]
    head = repository["main"]
    card = published / "README.md"
    text = card.read_text(encoding="utf-8")
    hub.scripts["commit"] = [lambda m, p, h: 503 if "/commit/" in p else None]
    try:
        card.write_text(text + "\nAnother line.\n", encoding="utf-8")
        told = client(UPLOADING, tmp_path, published, NAME, hub.url, "commit")
        assert "status 1" in told and repository["main"] == head
        told = client(UPLOADING, tmp_path, published, NAME, hub.url, "none")
        assert "status 0" in told and repository["main"] != head
        head = repository["main"]
        client(UPLOADING, tmp_path, published, NAME, hub.url, "none")
        assert repository["main"] == head  # nothing changed, no commit
    finally:
        hub.faults = []
        card.write_text(text, encoding="utf-8")
