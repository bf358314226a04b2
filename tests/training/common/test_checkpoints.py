import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from training.common.checkpoints import CheckpointError, Checkpoints, check_writable, save_state


class OneProcess:
    """What `save_state` needs of an Accelerator; writes one file, or fails as a full disk does."""

    is_main_process = True

    def __init__(self, disk_is_full=False):
        self.disk_is_full = disk_is_full

    def wait_for_everyone(self):
        pass

    def save_state(self, folder):
        with open(f"{folder}/weights", "w") as file:
            file.write(folder)
            if self.disk_is_full:
                raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def checkpoints(tmp_path):
    found = Checkpoints(tmp_path, total_limit=2)
    for step in (10, 20, 30):
        save_state(OneProcess(), found, step)
    return found


def test_the_newest_are_kept(checkpoints):
    assert checkpoints.steps() == [20, 30] and checkpoints.resume("latest") == 30


def test_a_checkpoint_is_named_by_itself_or_with_its_own_folder(checkpoints, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    for name in ("checkpoint-30", tmp_path / "checkpoint-30", f"{tmp_path.name}/checkpoint-30/"):
        assert checkpoints.resume(str(name)) == 30
    with pytest.raises(
        CheckpointError, match="one of checkpoint-20, checkpoint-30 in .* got 'elsewhere/checkpoint-30'"
    ):
        checkpoints.resume("elsewhere/checkpoint-30")


def test_a_checkpoint_that_later_ones_follow_is_refused(checkpoints):
    """The limit would delete what the run writes next, and "latest" go on with what was left."""
    with pytest.raises(
        CheckpointError, match="'checkpoint-20' is followed by later .* Move or delete .*/checkpoint-30`"
    ):
        checkpoints.resume("checkpoint-20")
    checkpoints.path(30).rename(checkpoints.output_dir / "aside")
    assert checkpoints.resume("checkpoint-20") == 20


def test_what_is_written_before_a_damaged_checkpoint_stays(checkpoints):
    (checkpoints.path(30) / "weights").unlink()
    checkpoints.total_limit = 1
    save_state(OneProcess(), checkpoints, 25)
    assert checkpoints.steps() == [25, 30] and checkpoints.resume("latest") == 25


def test_a_full_disk_costs_nothing(checkpoints):
    with pytest.raises(OSError, match="No space left"):
        save_state(OneProcess(disk_is_full=True), checkpoints, 40)
    assert checkpoints.steps() == [20, 30] and checkpoints.resume("latest") == 30
    save_state(OneProcess(), checkpoints, 40)  # the leftover of the failed save is no obstacle
    assert checkpoints.steps() == [30, 40]
    assert not list(checkpoints.output_dir.glob(".checkpoint-*"))


def test_a_kill_before_the_rename_leaves_no_checkpoint(checkpoints):
    (checkpoints.begin(40) / "weights").write_text("half")
    assert checkpoints.resume("latest") == 30


@pytest.mark.parametrize("damage", ["truncated", "missing", "no manifest"])
def test_a_damaged_newest_is_reported_and_passed_over(checkpoints, damage, caplog):
    newest = checkpoints.path(30)
    if damage == "truncated":
        (newest / "weights").write_text("")
    else:
        (newest / {"missing": "weights", "no manifest": "manifest.json"}[damage]).unlink()
    assert checkpoints.resume("latest") == 20
    assert "checkpoint-30` is damaged" in caplog.text
    with pytest.raises(CheckpointError, match="checkpoint-30` is damaged"):
        checkpoints.resume("checkpoint-30")


def test_all_damaged_is_an_error(checkpoints):
    for step in checkpoints.steps():
        (checkpoints.path(step) / "weights").unlink()
    with pytest.raises(CheckpointError, match="every checkpoint in .* is damaged"):
        checkpoints.resume("latest")


def test_nothing_to_resume(tmp_path):
    assert Checkpoints(tmp_path / "new").resume("latest") is None
    with pytest.raises(CheckpointError, match="'latest' or one of none in .* got 'checkpoint-5'"):
        Checkpoints(tmp_path).resume("checkpoint-5")


def test_a_limit_of_zero_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        Checkpoints(tmp_path, total_limit=0)


def test_processes_may_probe_one_folder_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check_writable, [tmp_path / "run"] * 400))
    assert not any((tmp_path / "run").iterdir())


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`--output_dir` must be a writable folder"):
        check_writable(tmp_path / "file" / "run")
