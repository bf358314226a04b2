"""Files: found here or on the Hub, read without trusting them, written whole or not at all."""

import contextlib
import os
import pickle
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")


def find_file(source, weight_name: str, subfolder: str | None, hub: dict) -> Path:
    if not weight_name.endswith((*PICKLE_SUFFIXES, ".safetensors")):
        raise ValueError(
            f"`weight_name` must end in .safetensors or {', '.join(PICKLE_SUFFIXES)}, got {weight_name!r}."
        )
    local = Path(source) / (subfolder or "") / weight_name
    if Path(source).is_dir():
        if not local.is_file():
            raise ValueError(f"no file `{local}`. Check `weight_name` and `subfolder`.")
        return local
    return fetched(hf_hub_download, source, filename=weight_name, subfolder=subfolder, **hub)


def fetched(fetch, source, **arguments) -> Path:
    try:
        return Path(fetch(str(source), **arguments))
    except Exception as error:  # the Hub's client raises a dozen kinds; the cause is kept
        raise ValueError(
            f"`{source}` is no folder here, and the Hub gave nothing for it ({type(error).__name__}: {error}). Check "
            "the name, and the network or the cache."
        ) from error


def read_checkpoint(path: str | Path) -> dict:
    """Nested dict of tensors from a safetensors file, or from a pickle with `weights_only=True`.

    Raises:
        ValueError: missing, truncated, or holding anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint file at `{path}`. Check the path and `weight_name`.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
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


def load_strictly(model: torch.nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Fill `model` from `state`, every tensor checked before any is replaced.

    Raises:
        ValueError: keys missing or extra, a shape that differs, an integer tensor, or a value that is not finite.
    """
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise ValueError(
            f"{source} does not hold the weights of {type(model).__name__}: {len(missing)} missing (first: "
            f"{missing[:2]}), {len(extra)} unexpected (first: {extra[:2]}). Use the file that belongs to this config."
        )
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise ValueError(
                f"{source}: `{key}` must have shape {tuple(expected[key].shape)}, got {tuple(tensor.shape)}. "
                "Use the file that belongs to this config."
            )
    check_finite(state, source)
    model.load_state_dict(state)


def check_finite(state: dict[str, torch.Tensor], source: str) -> None:
    """Raise a ValueError that names the first tensor of `state` that is no float tensor or holds NaN or infinity."""
    for key, tensor in state.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
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
        ValueError: `path` is a file, or holds something and may not be replaced; before the block runs.
    """
    path = Path(path)
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
    if path.is_dir():
        if os.name == "nt":
            return  # Windows cannot open folders
        handle = os.open(path, os.O_RDONLY)
    else:
        handle = os.open(path, os.O_RDWR)  # Windows flushes only what is open for writing
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
