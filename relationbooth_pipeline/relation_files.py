"""Files: found here or on the Hub, read without trusting them, written whole or not at all."""

import contextlib
import os
import pickle
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from huggingface_hub import hf_hub_download, list_repo_files
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import GatedRepoError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
LORA_WEIGHT_NAME = "pytorch_lora_weights.safetensors"
HEADER_KEY = "relationbooth"  # one JSON document in a LoRA's header: other tools keep or ignore it whole
HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only", "force_download")
_NO_LORA = ("scheduler", "optimizer", "checkpoint")  # in names of a run's other files; diffusers passes over the same


def is_pickle(name: str | Path) -> bool:
    """Whether a file's name says that it is a pickle: reading one may run code, so it must be named by its user."""
    return Path(name).suffix.lower() in PICKLE_SUFFIXES


def find_file(source: str | Path, weight_name: str, subfolder: str | None, hub: dict) -> Path:
    """The file `weight_name` of a folder, or of a Hub repository, from where it is fetched.

    Args:
        source: folder, or Hub repository (owner/name). subfolder: where in it.
        hub: some of `HUB_ARGUMENTS`, as in huggingface_hub.
    Raises:
        ValueError: `weight_name` is neither safetensors nor a pickle, or there is no such file.
    """
    if not (is_pickle(weight_name) or weight_name.endswith(".safetensors")):
        raise ValueError(
            f"`weight_name` must end in .safetensors or {', '.join(PICKLE_SUFFIXES)}, got {weight_name!r}."
        )
    local = Path(source) / (subfolder or "") / weight_name
    if Path(source).is_dir():
        if not local.is_file():
            raise ValueError(f"no file `{local}`. Check `weight_name` and `subfolder`.")
        return local
    return fetched(hf_hub_download, source, filename=weight_name, subfolder=subfolder, **hub)


def find_lora_file(
    source: str | Path,
    weight_name: str | None = None,
    subfolder: str | None = None,
    hub: dict | None = None,
    only: bool = False,
) -> Path:
    """The file that a LoRA's name means: itself, the named one of a folder or Hub repository, or the only one there.

    Without `weight_name`, `pytorch_lora_weights.safetensors` comes first, then the other safetensors files of that very
    folder, not of folders in it. Of several the first by name is taken, with a warning (diffusers takes any of them).

    Args:
        source: file, folder, or Hub repository (owner/name).
        weight_name: pickles are found only when named so. subfolder: where in the folder or repository.
        hub: some of `HUB_ARGUMENTS`, as in huggingface_hub. only: refuse a choice among several.
    Raises:
        ValueError: there is no such file, or it is a pickle that `weight_name` does not name.
    """
    path, hub = Path(source), hub or {}
    if path.is_file():
        if weight_name not in (None, path.name):
            raise ValueError(f"`{path}` is a file, but `weight_name` is {weight_name!r}. Pass its folder, or the file.")
        if is_pickle(path) and weight_name is None:
            raise ValueError(
                f"`{path}` is a pickle, and reading one may run code. If you trust it, name it: `load_lora_weights("
                f"{str(path.parent)!r}, weight_name={path.name!r})`; better, convert it to safetensors."
            )
        return path
    if weight_name is not None:
        return find_file(source, weight_name, subfolder, hub)
    place = f"`{source}`" + (f", subfolder `{subfolder}`," if subfolder else "")
    found = lora_names(_names_in(source, subfolder, hub))
    if not found:
        raise ValueError(
            f"{place} holds no safetensors file of a LoRA. Name it with `weight_name`, or its folder with `subfolder`."
        )
    if len(found) > 1:
        several = f"{place} holds {len(found)} LoRA files ({', '.join(found[:3])}, …)"
        if only:
            raise ValueError(f"{several}. Name the file.")
        from diffusers.utils import logging  # late: writers of files do without its seconds

        logging.get_logger(__name__).warning(f"{several}: `{found[0]}` is taken. Choose one with `weight_name`.")
    return find_file(source, found[0], subfolder, hub)


def lora_names(names: Iterable[str]) -> list[str]:
    """Which of a folder's file names may mean its LoRA, sorted; `LORA_WEIGHT_NAME` alone when it is among them."""
    names = sorted(name for name in names if name.endswith(".safetensors") and not any(no in name for no in _NO_LORA))
    return [LORA_WEIGHT_NAME] if LORA_WEIGHT_NAME in names else names


def _names_in(source: str | Path, subfolder: str | None, hub: dict) -> list[str]:
    """Names of the files in one folder, here or on the Hub."""
    if Path(source).is_dir():
        folder = Path(source) / (subfolder or "")
        return [file.name for file in folder.glob("*.safetensors") if file.is_file()]
    if hub.get("local_files_only") or HF_HUB_OFFLINE:
        raise ValueError(f"`{source}` is no folder here, and without network its file must be named: `weight_name=`.")
    names = _from_hub(list_repo_files, source, **{key: hub[key] for key in ("revision", "token") if key in hub})
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    inside = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return [name for name in inside if "/" not in name]


def fetched(fetch: Callable, source: str | Path, **arguments) -> Path:
    """What `fetch` (`hf_hub_download`, `snapshot_download`) brought from the Hub; a ValueError when it failed."""
    return Path(_from_hub(fetch, source, **arguments))


def _from_hub(ask: Callable, source: str | Path, **arguments):
    try:
        return ask(str(source), **arguments)
    except Exception as error:  # the Hub's client raises a dozen kinds; the cause is kept
        raise ValueError(
            f"`{source}` is no folder here, and the Hub gave nothing for it ({type(error).__name__}: {error}). "
            f"{_advice(error)}"
        ) from error


def _advice(error: BaseException) -> str:
    """What helps after an answer of the Hub, or after none; the client wraps answers."""
    if isinstance(error, GatedRepoError):
        return "It is gated: accept its conditions on its page, then `hf auth login`."
    if getattr(getattr(error, "response", None), "status_code", 0) >= 500:
        return "The Hub is busy or down: try again in a while."
    rest = "Check the name, and the network or the cache; private repositories need `hf auth login`. Try again."
    return _advice(error.__cause__) if error.__cause__ is not None else rest


def read_checkpoint(path: str | Path) -> dict:
    """Nested dict of tensors from a safetensors file, or from a pickle with `weights_only=True`.

    Raises:
        ValueError: missing, truncated, or holding anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint file at `{path}`. Check the path and `weight_name`.")
    import torch  # late: finding and writing files do without its seconds
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text advises to unpickle all the same
        beside = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"`{path}` cannot be read safely: {f'it holds {beside[1]}' if beside else 'it is damaged or no checkpoint'}"
            "; only tensors are read. Download it again, or convert it to safetensors in an environment that you trust."
        ) from error
    except Exception as error:  # every reader raises its own kind for a damaged file; the cause is kept
        raise ValueError(
            f"`{path}` cannot be read safely ({type(error).__name__}: {error}). It is damaged, or holds more than "
            "tensors: download it again, or convert it to safetensors in an environment that you trust."
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"`{path}` must hold a dict of tensors, got a {type(state).__name__}: it is no checkpoint.")
    return state


def check_finite(state: dict, source: str) -> None:
    """Raise a ValueError that names the first tensor of `state` that is no float tensor or holds NaN or infinity."""
    for key, tensor in state.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ValueError(f"{source}: `{key}` must hold finite floating-point numbers. Download the file again.")


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` to write to; then it reaches the disk and takes `path`'s name.

    When the block raises, `path` is as it was and nothing else is left. The file gets the permissions that an ordinary
    new file has, whatever its writer chose.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")  # short: a name may be as long as the disk allows
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        mode = os.fstat(handle).st_mode & 0o777
        os.close(handle)
        yield temporary
        os.chmod(temporary, mode)
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


@contextlib.contextmanager
def whole_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """Yields a new folder beside `path` to fill; then it reaches the disk and takes `path`'s name.

    When the block raises, `path` is as it was and nothing else is left; no moment loses both the old and the new.

    Args:
        replace: allow `path` to be a folder that holds something, which is then replaced.
    Raises:
        ValueError: `path` is a file or `.`, or holds something and may not be replaced; before the block runs.
    """
    path = Path(path)
    if not path.name:
        raise ValueError(f"`{path}` cannot be exchanged for a new folder. Name one in it.")
    if path.exists() and not path.is_dir():
        raise ValueError(f"`{path}` is a file. Choose a new or empty folder.")
    if path.exists() and not replace and any(path.iterdir()):
        raise ValueError(f"the folder `{path}` exists and is not empty. Choose a new or empty folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(6)
    fresh, old = path.with_name(f".{token}.tmp"), path.with_name(f".{token}.old")
    fresh.mkdir()
    try:
        yield fresh
        for entry in [*fresh.rglob("*"), fresh]:
            flush(entry)
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(fresh, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
        if old.exists():
            shutil.rmtree(old)
    finally:
        if fresh.exists():
            shutil.rmtree(fresh)
    flush(path.parent)


def flush(path: Path) -> None:
    """To the disk itself: a rename that survives a power cut must not precede the data."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows flushes only what is open for writing
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
