"""Files and folders are written whole or not at all, with ordinary permissions."""

import os

import pytest
import torch

from relationbooth_pipeline import relation_files
from relationbooth_pipeline.relation_files import flush, read_checkpoint, whole_file, whole_folder


def test_a_file_appears_whole_with_ordinary_permissions(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    for name in ("a" * 255, "new"):
        with whole_file(tmp_path / name) as temporary:
            temporary.write_text("text")
            os.chmod(temporary, 0o600)  # as safetensors and tempfile leave theirs
            assert not (tmp_path / name).exists()
        assert (tmp_path / name).read_text() == "text"
        assert (tmp_path / name).stat().st_mode == ordinary.stat().st_mode


def test_the_current_folder_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="`.` cannot be exchanged for a new folder. Name one in it"), whole_folder("."):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)]])
def test_what_is_no_dict_of_tensors_is_no_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "some.pt")
    with pytest.raises(ValueError, match=r"some.pt` must hold a dict of tensors, got a (Tensor|list)"):
        read_checkpoint(tmp_path / "some.pt")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_another_whole(tmp_path):
    path = tmp_path / "folder"
    for text in ("first", "second"):
        with whole_folder(path, replace=True) as fresh:
            (fresh / text).write_text(text)
        assert [file.name for file in path.iterdir()] == [text]
    with pytest.raises(ValueError, match="is not empty. Choose a new or empty folder"), whole_folder(path):
        pass
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["block", "second rename"])
def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "folder"
    with whole_folder(path) as fresh:
        (fresh / "old").touch()
    real = os.replace

    def replace(source, target):
        if target == path and source.suffix == ".tmp":
            raise OSError("no space")
        real(source, target)

    with pytest.raises(OSError), whole_folder(path, replace=True) as fresh:
        (fresh / "new").touch()
        monkeypatch.setattr(relation_files.os, "replace", replace)
        if failing == "block":
            raise OSError
    assert [file.name for file in path.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [path]


def test_data_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(relation_files.os, "fsync", lambda handle: (events.append("flush"), fsync(handle)))
    monkeypatch.setattr(relation_files.os, "replace", lambda *paths: (events.append("rename"), replace(*paths)))
    with whole_file(tmp_path / "file") as temporary:
        temporary.write_text("text")
    assert events == ["flush", "rename", "flush"]


def test_a_flush_works_where_a_read_only_descriptor_cannot_be_flushed(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    real = os.fsync

    def windows(handle):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        real(handle)

    monkeypatch.setattr(relation_files.os, "fsync", windows)
    (tmp_path / "file").write_text("text")
    flush(tmp_path / "file")


def test_everything_in_a_folder_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    events, replace = [], os.replace
    monkeypatch.setattr(relation_files, "flush", lambda path: events.append(("flush", path.name)))
    monkeypatch.setattr(relation_files.os, "replace", lambda a, b: (events.append(("rename", str(b))), replace(a, b)))
    with whole_folder(tmp_path / "folder") as fresh:
        (fresh / "inner").mkdir()
        (fresh / "inner" / "weights").touch()
        (fresh / "config").touch()
        own = fresh.name
    before, after = events[:-2], events[-2:]
    assert sorted(before) == sorted(("flush", name) for name in ("inner", "weights", "config", own))
    assert after == [("rename", str(tmp_path / "folder")), ("flush", tmp_path.name)]
