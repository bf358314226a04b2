"""Over real HTTP: export → upload → the Hub's doors → RelationLoRAs → pictures; warm, pinned, offline."""

import json

from tests.hub.conftest import NAME

START = """
import json, sys
import torch
from diffusers import DiffusionPipeline
from PIL import Image
import numpy as np

name, folder = sys.argv[1:3]
references = folder + "/references/"

def draw(pipe):
    pipe.set_progress_bar_config(disable=True)
    images = [references + "cat.png", references + "bear.png"]
    picture = pipe("a cat is hugging a bear", image_prompts=images, phrases=["cat", "bear"], num_inference_steps=2,
                   image_prompt_scale=1.0, generator=torch.Generator().manual_seed(1)).images[0]
    return np.asarray(picture).astype(int)

def difference(a, b):
    return float(np.abs(a - b).mean())
"""
DOORS = (
    START
    + """
told = {}
pipe = DiffusionPipeline.from_pretrained(name, trust_remote_code=True)
told["dtype"] = str(pipe.unet.dtype)
alone = draw(pipe)
loras = dict(ours=dict(weight_name="pytorch_lora_weights.safetensors"),
             kohya=dict(weight_name="hugging_kohya.safetensors"), guessed={}, pinned=dict(revision=sys.argv[3]))
pictures = {}
for label, arguments in loras.items():
    pipe.load_lora_weights(name, subfolder="relation_loras/hugging", adapter_name="one", **arguments)
    assert pipe.heaviest_relation().relation == "hugging"
    pictures[label] = draw(pipe)
    pipe.unload_lora_weights()
told["loras"] = {label: difference(picture, pictures["ours"]) for label, picture in pictures.items()}
told["acts"] = difference(pictures["ours"], alone)
local = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
told["folder"] = difference(draw(local), alone)

pinned = dict(custom_pipeline=name, custom_revision=sys.argv[3], trust_remote_code=True)
custom = DiffusionPipeline.from_pretrained(folder, **pinned)
told["custom"] = difference(draw(custom), alone)
custom.load_relation_adapter(name, subfolder="relation_adapter", revision=sys.argv[3])
told["adapter"] = difference(draw(custom), alone)
print(json.dumps(told))
"""
)
AGAIN = (
    START
    + """
from urllib.request import urlopen
from huggingface_hub import snapshot_download

told = []
for way in sys.argv[4:]:
    urlopen(f"{sys.argv[3]}/control/none")  # a mark in the Hub's log
    source = snapshot_download(name) if way == "snapshot" else name
    pipe = DiffusionPipeline.from_pretrained(source, trust_remote_code=True)
    told.append(draw(pipe).sum().item())
    print(json.dumps(told))
"""
)


def last(output: str):
    return json.loads(output.splitlines()[-1])


def test_every_door_draws_the_same(hub, client, published, tmp_path):
    commit = hub.repositories["model", NAME]["main"]
    told = last(client(DOORS, tmp_path, NAME, published, commit))
    assert told["dtype"] == "torch.float32"  # diffusers' default, whatever the files hold
    assert told["loras"] == {"ours": 0, "kohya": 0, "guessed": 0, "pinned": 0} and told["acts"] > 1
    assert told["folder"] == told["custom"] == told["adapter"] == 0


def test_a_warm_cache_asks_little_by_the_snapshot_way_and_nothing_offline(hub, client, published, tmp_path):
    told = last(client(AGAIN, tmp_path, NAME, published, hub.url, "snapshot"))
    hub.log.clear()
    assert last(client(AGAIN, tmp_path, NAME, published, hub.url, "snapshot", "name")) == 2 * told
    warm, by_name = requests_between_marks(hub.log)
    assert warm <= 3 < by_name
    # Why the documentation sends people to the snapshot: diffusers asks the Hub for each code file's revision.
    hub.log.clear()
    offline = client(AGAIN, tmp_path, NAME, published, hub.url, "snapshot", "name", fails=True, HF_HUB_OFFLINE="1")
    assert json.dumps(told) in offline.splitlines()
    assert "offline mode is enabled" in offline.lower() or "OfflineModeIsEnabled" in offline
    assert requests_between_marks(hub.log) == [0, 0]


def requests_between_marks(log) -> list[int]:
    counts = []
    for _, path in log:
        if path.startswith("/control/"):
            counts.append(0)
        else:
            counts[-1] += 1
    return counts
