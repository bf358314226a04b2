"""Cards that the Hub understands, and a Space that holds all it needs."""

import ast
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCardData, SpaceCardData
from huggingface_hub.repocard import RepoCard

from hub_cards import publish
from hub_cards.space import build_space, requirements

CARDS = Path(__file__).parents[1] / "hub_cards"
KINDS = {"relationbooth-space": SpaceCardData}


def card(name):
    return RepoCard.load(CARDS / name / "README.md", ignore_metadata_errors=False)


@pytest.mark.parametrize("folder", sorted(path.parent for path in CARDS.glob("*/README.md")))
def test_the_front_matter_is_what_huggingface_hub_writes(folder):
    given = card(folder.name).data.to_dict()
    known = KINDS.get(folder.name, ModelCardData)
    assert known(**given).to_dict() == given
    assert given["license"] in ("apache-2.0", "openrail++", "cc-by-4.0")
    text = card(folder.name).text
    assert "consent" in text.lower() and "generated" in text.lower()


@pytest.mark.parametrize("name", ["relationbooth-miniature", "relationbooth-sdxl"])
def test_model_cards_say_what_the_hub_shows(name):
    data = card(name).data
    assert data.library_name == "diffusers" and data.pipeline_tag == "text-to-image" and data.inference is False
    assert "<Gallery />" in card(name).text or name == "relationbooth-sdxl"
    for entry in data.get("widget") or []:
        assert (CARDS / name / entry["output"]["url"]).is_file()
    if name == "relationbooth-sdxl":
        assert data.base_model == "stabilityai/stable-diffusion-xl-base-1.0" and data.base_model_relation == "adapter"


def test_the_space_holds_the_package_and_names_its_requirements(tmp_path):
    build_space(tmp_path / "space")
    front = card("relationbooth-space").data
    program = tmp_path / "space" / front.app_file
    ast.parse(program.read_text(encoding="utf-8"))
    assert (
        front.sdk == "gradio" and re.fullmatch(r"6\.\d+\.\d+", front.sdk_version) and len(front.short_description) <= 60
    )
    package = tmp_path / "space" / "relationbooth_pipeline"
    for name in ("pipeline.py", "app/places.js", "miniature/weights/model_index.json"):
        assert (package / name).is_file()
    lines = (tmp_path / "space" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines == requirements().splitlines() and any(line.startswith("diffusers>=") for line in lines)
    with pytest.raises(ValueError, match="is not empty"):
        build_space(tmp_path / "space")


def test_a_space_whose_upload_failed_is_pushed_by_the_same_call(tmp_path, monkeypatch, capsys):
    pushed = []

    def push(folder, *given):
        pushed.append(sorted(path.name for path in folder.iterdir()))
        if len(pushed) == 1:
            raise ValueError("`o/n` was not uploaded (timeout). Check name and token, then try again.")

    monkeypatch.setattr(publish, "push", push)
    call = ["space", str(tmp_path / "space"), "o/n"]
    assert publish.main(call) == 1 and publish.main(call) == 0
    assert pushed[0] == pushed[1] and "holds a Space already: that one is pushed" in capsys.readouterr().out
    assert publish.main(call[:2]) == 1, "nothing is built over what is there"
