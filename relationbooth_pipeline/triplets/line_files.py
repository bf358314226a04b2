"""Files of JSON lines that only grow: a line is added whole or not at all, and a torn last one is nobody's."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from ..relation_files import flush


def split_torn(path: Path) -> tuple[bytes, bytes]:
    """A file's whole lines, and the beginning of a last line that a killed process or a full disk left.

    A last line that is whole JSON and lacks only its end, as editors leave it, is a whole one.

    Returns:
        Both empty when there is no such file.
    """
    data = path.read_bytes() if path.is_file() else b""
    end = data.rfind(b"\n") + 1
    try:
        json.loads(data[end:])
        return data, b""
    except ValueError:
        return data[:end], data[end:]


def add_line(path: Path, values: dict[str, Any]) -> None:
    """Add a line, which is on the disk when this returns; a torn last line is dropped first.

    One thread and process at a time.

    Raises:
        OSError: the disk is full or fails; the file is as it was, but for what was torn.
    """
    data = json.dumps(values, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    is_new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        whole = os.fstat(handle).st_size
        if not _ends(handle, whole):
            kept, _ = split_torn(path)
            whole = len(kept)
            os.ftruncate(handle, whole)
            if kept and not kept.endswith(b"\n"):
                data = b"\n" + data
        try:
            if os.write(handle, data) != len(data):  # a full disk takes a part, to which the next line would join
                raise OSError(errno.ENOSPC, "No space left on device")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, whole)
            raise
    finally:
        os.close(handle)
    if is_new:
        flush(path.parent)


def _ends(handle: int, size: int) -> bool:
    """Whether the file's last line has its end; read from the last byte, since a ledger grows long."""
    if not size:
        return True
    os.lseek(handle, -1, os.SEEK_END)
    return os.read(handle, 1) == b"\n"
