"""The exported folder is complete: it loads where our package is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from hub_cards.publish import export, main, upload
from tests.forked import NO_HUB, parent_of
from tests.relationbooth_pipeline.whole.test_pipeline_call import BOXES, TWO, generate
from tests.tiny import tiny_pipeline

ROOT = Path(__file__).parents[1]

PROGRAM = """
import sys, torch
from PIL import Image
from diffusers import DiffusionPipeline

folder, result, custom = sys.argv[1:4]
try:
    import relationbooth_pipeline
except ImportError:
    pass
else:
    raise SystemExit("the package must not be importable here")
# hub door
if custom == "hub":
    assert pipe.relation_adapter is not None
elif custom == "whole":
    pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
else:
    pipe = DiffusionPipeline.from_pretrained(custom, custom_pipeline=folder, trust_remote_code=True)
    pipe.load_relation_adapter(folder, subfolder="relation_adapter", image_encoder=folder + "/image_prompt_encoder",
                               local_image_encoder=folder + "/local_image_encoder")
pipe.set_progress_bar_config(disable=True)
images = [Image.open(folder + f"/../{i}.png") for i in range(2)]
boxes = [[0.0, 0.2, 0.55, 0.85], [0.5, 0.26, 0.95, 0.9]]
latents = pipe("a cat is hugging a bear", image_prompts=images, phrases=["cat", "bear"], boxes=boxes,
               height=64, width=64, num_inference_steps=2, output_type="latent", guidance_scale=5.0,
               generator=torch.Generator().manual_seed(0)).images
torch.save(latents, result)
"""

# The Hub door without a Hub: only what the loader asks for is downloaded, as into the Hub's cache.
FAKE_HUB = """
import fnmatch, pathlib, shutil, types
import diffusers.pipelines.pipeline_utils as loader, diffusers.utils.dynamic_modules_utils as code_loader

remote, commit = pathlib.Path(sys.argv[1]), "a" * 40
snapshot = pathlib.Path("cache", commit)
files = [file.relative_to(remote).as_posix() for file in remote.rglob("*") if file.is_file()]

def hf_hub_download(repository, name, subfolder=None, **kwargs):
    name = f"{subfolder}/{name}" if subfolder else name
    (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
    return str(shutil.copy(remote / name, snapshot / name))

def snapshot_download(repository, allow_patterns=None, ignore_patterns=None, **kwargs):
    for name in files:
        wanted = any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns)
        if wanted and not any(fnmatch.fnmatch(name, pattern) for pattern in ignore_patterns or []):
            hf_hub_download(repository, name)
    return str(snapshot)

info = types.SimpleNamespace(sha=commit, siblings=[types.SimpleNamespace(rfilename=name) for name in files])
for module in (loader, code_loader):
    module.hf_hub_download, module.model_info = hf_hub_download, lambda *args, **kwargs: info
loader.snapshot_download, loader._resolve_revision = snapshot_download, lambda *args, **kwargs: commit
pipe = DiffusionPipeline.from_pretrained("org/relationbooth-sdxl", trust_remote_code=True)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root, pipe = tmp_path_factory.mktemp("export"), tiny_pipeline()
    export(pipe, root / "relationbooth")
    for i, image in enumerate(TWO["image_prompts"]):
        image.save(root / f"{i}.png")
    return root / "relationbooth", generate(pipe, **TWO, boxes=BOXES)


# Another process may run with another number of threads, which changes the last digits of sums.
def run_without_our_package(folder: Path, custom: str, cwd: Path) -> torch.Tensor:
    result, modules = cwd / "latents.pt", cwd / "modules"
    # An editable install is found through a .pth file or a finder; both are shut out by name.
    hide = "import sys; sys.modules['relationbooth_pipeline'] = None\n"
    environment = {"PATH": "", "HF_MODULES_CACHE": str(modules), "HOME": str(cwd), "HF_HUB_OFFLINE": "1"}
    program = PROGRAM.replace("# hub door", FAKE_HUB if custom == "hub" else "")
    arguments = ["-c", hide + program, str(folder), str(result), custom]
    process = parent_of(*NO_HUB).start(arguments, environment, cwd)
    assert process.wait() == 0, process.output()[-3000:]
    return torch.load(result, weights_only=True)


def test_the_whole_folder_loads_without_pip(exported, tmp_path):
    folder, expected = exported
    torch.testing.assert_close(run_without_our_package(folder, "whole", tmp_path), expected, atol=1e-3, rtol=1e-3)


def test_the_repository_loads_through_the_hub_door(exported, tmp_path):
    folder, expected = exported
    torch.testing.assert_close(run_without_our_package(folder, "hub", tmp_path), expected, atol=1e-3, rtol=1e-3)


def test_its_code_serves_another_checkpoint(exported, tmp_path):
    folder, expected = exported
    plain = tiny_pipeline(adapter=False)
    plain.save_pretrained(tmp_path / "sdxl")
    index = (tmp_path / "sdxl" / "model_index.json").read_text()
    (tmp_path / "sdxl" / "model_index.json").write_text(
        index.replace("RelationBoothPipeline", "StableDiffusionXLPipeline")
    )
    torch.testing.assert_close(
        run_without_our_package(folder, str(tmp_path / "sdxl"), tmp_path), expected, atol=1e-3, rtol=1e-3
    )


def test_the_miniature_brings_its_card_and_relation_loras(tmp_path):
    assert main(["export", str(tmp_path / "miniature")]) == 0
    assert "# The miniature" in (tmp_path / "miniature" / "README.md").read_text()
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "miniature", trust_remote_code=True)
    pipe.load_lora_weights(tmp_path / "miniature", subfolder="relation_loras/jumping")
    assert pipe.heaviest_relation().relation == "jumping"


def test_refusals(exported, tmp_path):
    with pytest.raises(ValueError, match="is not empty. Choose a new or empty folder"):
        export(tiny_pipeline(), exported[0])
    with pytest.raises(ValueError, match="must not hold a dot"):
        export(tiny_pipeline(), tmp_path / "v1.0")
    with pytest.raises(ValueError, match="none is loaded"):
        export(tiny_pipeline(adapter=False), tmp_path / "plain")
    with pytest.raises(ValueError, match="is no exported pipeline"):
        upload(tmp_path, "org/name")


def test_a_folder_without_an_index_is_no_pipeline(tmp_path, capsys):
    assert main(["export", str(tmp_path / "out"), "--pipeline", str(tmp_path)]) == 1
    assert f"`{tmp_path}` has no `model_index.json`" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_program_starts_as_its_help_says():
    done = subprocess.run(
        [sys.executable, "-m", "hub_cards.publish", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "python -m hub_cards.publish export FOLDER" in done.stdout, done.stderr
