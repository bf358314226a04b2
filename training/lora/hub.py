"""The Hub repository of a RelationLoRA: claimed before training, filled after it."""

from pathlib import Path

from huggingface_hub import create_repo, upload_folder, whoami

from .arguments import HubOptions

NOT_UPLOADED = ("checkpoint-*", ".*")  # and the folder of the reports


def claim_repository(hub: HubOptions, folder: Path) -> str:
    """Id of the repository that the result goes to; with `--push_to_hub` it is made, if there is none yet.

    Raises:
        ValueError: there is no token, it may not write, or the Hub does not answer: better told before hours of
            training than after them.
    """
    repo_id = hub.hub_model_id or folder.resolve().name
    if not hub.push_to_hub:
        return repo_id
    try:
        token = whoami(token=hub.hub_token).get("auth", {}).get("accessToken", {})
        if token.get("role") == "read":
            raise PermissionError(f"the token {token.get('displayName', '')!r} may read only")
        return create_repo(repo_id, exist_ok=True, token=hub.hub_token).repo_id
    except Exception as error:  # the Hub's client raises a dozen kinds; the cause is kept
        raise ValueError(
            f"`--push_to_hub` cannot write to `{repo_id}` ({type(error).__name__}: {error}). Log in with a token that "
            "may write (`hf auth login`, or `--hub_token`), check `--hub_model_id` and the network, or leave "
            "`--push_to_hub` out."
        ) from error


def upload(hub: HubOptions, repo_id: str, folder: Path, logging_dir: str = "logs") -> None:
    """The run's folder without its checkpoints and reports.

    Raises:
        ValueError: the Hub did not take it; the folder is complete, and the message says how to upload it.
    """
    left_out = [*NOT_UPLOADED, f"{logging_dir}/*"]
    try:
        upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message="RelationLoRA",
            ignore_patterns=left_out,
            token=hub.hub_token,
        )
    except Exception as error:  # as above
        raise ValueError(
            f"the upload to `{repo_id}` failed ({type(error).__name__}: {error}). The training is done and all is in "
            f"`{folder}`: hf upload {repo_id} {folder} --exclude {' '.join(map(repr, left_out))}"
        ) from error
