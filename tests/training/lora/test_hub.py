"""Access to the Hub is checked before anything is trained."""

import pytest

from tests.training.conftest import relation_arguments
from tests.training.programs import refuse_loading, refused
from training import train_relation_lora_sdxl as script
from training.lora import hub
from training.lora.arguments import HubOptions

PUSH = HubOptions(push_to_hub=True, hub_model_id="someone/hug", hub_token=None, license=None)


def writer(token):
    return {"auth": {"accessToken": {"role": "write", "displayName": "mine"}}}


def reader(token):
    return {"auth": {"accessToken": {"role": "read", "displayName": "mine"}}}


def fails(*args, **kwargs):
    raise OSError("Token is required, but no token found")


def test_without_push_nobody_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "whoami", pytest.fail)
    assert hub.claim_repository(HubOptions(False, None, None, None), tmp_path / "hug") == "hug"


@pytest.mark.parametrize(
    "whoami, create, reason",
    [
        (fails, None, "OSError: Token is required"),
        (
            lambda token: {"auth": {"accessToken": {"role": "read", "displayName": "mine"}}},
            None,
            "'mine' may read only",
        ),
        (writer, fails, "OSError: Token is required"),
    ],
)
def test_no_access_is_refused_by_name(tmp_path, monkeypatch, whoami, create, reason):
    monkeypatch.setattr(hub, "whoami", whoami)
    monkeypatch.setattr(hub, "create_repo", create)
    with pytest.raises(ValueError, match=f"`--push_to_hub` cannot write to `someone/hug` .*{reason}.* Log in with"):
        hub.claim_repository(PUSH, tmp_path)


def test_the_program_asks_before_it_loads_a_model(base, triplets, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "load_pipeline", refuse_loading)
    monkeypatch.setattr(hub, "whoami", fails)
    flags = relation_arguments(base, triplets, tmp_path / "run", push_to_hub=True)
    assert "`--push_to_hub` cannot write to `run` (OSError: Token is required" in refused(script, flags, capsys)


def test_a_failed_upload_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "upload_folder", fails)
    with pytest.raises(ValueError, match="The training is done .* hf upload someone/hug .* --exclude 'checkpoint-"):
        hub.upload(PUSH, "someone/hug", tmp_path)


def test_reports_stay_here_whatever_their_folder_is_called(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(hub, "upload_folder", lambda **given: asked.update(given))
    hub.upload(PUSH, "someone/hug", tmp_path, "my-runs")
    assert asked["ignore_patterns"] == ["checkpoint-*", ".*", "my-runs/*"]
