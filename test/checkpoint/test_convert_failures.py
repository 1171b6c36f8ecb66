"""convert leaves all or nothing: full disks, sources that change, interrupts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from warm_python import WarmPython

import simple_clip_lstm_ros
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.errors import Cancelled, CheckpointError

Mount = Callable[[str], Path]


def _refusal(source: Path, destination: Path, **options: object) -> str:
    before = sorted(destination.parent.iterdir()) if destination.parent.is_dir() else None
    with pytest.raises(CheckpointError) as raised:
        convert(source, destination, **options)
    assert "\n" not in str(raised.value)
    if before is not None:
        assert sorted(destination.parent.iterdir()) == before
    return str(raised.value)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """A small file system of its own."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True)
        if done.returncode:
            pytest.skip("nothing may be mounted here")
        return place

    yield mount
    subprocess.run(["umount", place], capture_output=True)


@pytest.fixture
def source(tiny: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    shutil.copytree(f"{tiny}.processors", folder / "processors")
    return Path(shutil.copy(tiny, folder / "model.pth"))


@pytest.mark.parametrize("kind", ["file", "folder", "bundle"])
def test_what_exists_is_never_overwritten(tiny: Path, bundles: dict[str, Path], tmp_path: Path, kind: str) -> None:
    destination = tmp_path / "there"
    if kind == "bundle":
        shutil.copytree(bundles["fp32"], destination)
    else:
        destination.mkdir() if kind == "folder" else destination.write_text("mine")
    assert "exists; remove it or choose another name" in _refusal(tiny, destination)


def test_a_parent_that_is_missing_or_a_file_is_told(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in ("missing", "file"):
        assert f"{tmp_path / parent} is not a folder" in _refusal(tiny, tmp_path / parent / "bundle")


def test_a_place_that_is_read_only_is_told_before_the_work(tiny: Path, mount: Mount) -> None:
    place = mount("ro,size=1m")
    assert "cannot be written: Read-only file system" in _refusal(tiny, place / "bundle", report=_never)


def test_a_full_disk_is_foreseen(tiny: Path, mount: Mount) -> None:
    place = mount("size=1m")
    assert re.search("GB free, .* needs", _refusal(tiny, place / "bundle", report=_never))


def _never(*_: object) -> None:
    raise AssertionError("the work has begun")


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tiny: Path, mount: Mount) -> None:
    place = mount("size=12m")

    def fill(what: str, done: int, total: int) -> None:
        if done == total and what == "checksum of the source":
            room = shutil.disk_usage(place).free
            with (place / "others").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, room)

    with pytest.raises(CheckpointError, match="cannot be written: No space left on device"):
        convert(tiny, place / "bundle", report=fill)
    assert [file.name for file in place.iterdir()] == ["others"]


CHANGES: dict[str, Callable[[Path], object]] = {
    "appended": lambda path: path.open("ab").write(b"x"),
    "touched": lambda path: os.utime(path, (1, 1)),
    "replaced": lambda path: shutil.copy(path, f"{path}.new") and os.replace(f"{path}.new", path),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("when", ["writing tensors", "checksum of the source"])
@pytest.mark.parametrize("how", CHANGES)
def test_a_source_that_changes_meanwhile_is_refused(source: Path, tmp_path: Path, how: str, when: str) -> None:
    changed = []

    def change(what: str, done: int, total: int) -> None:
        if what == when and not changed:
            changed.append(CHANGES[how](source))

    _refusal(source, tmp_path / "bundle", report=change)
    assert changed


def test_a_callback_that_cancels_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    def cancel(what: str, done: int, total: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        convert(tiny, tmp_path / "bundle", report=cancel)
    assert not list(tmp_path.iterdir())


_CHILD = """
import signal, sys, time
from simple_clip_lstm_ros.cli import convert
from simple_clip_lstm_ros.cli.main import main
def halt(self, what, done, total):
    if what == sys.argv[1]:
        print("halted", flush=True)
        while True:  # one long sleep could begin just after the signal
            time.sleep(0.05)
convert._ProgressReport.__call__ = halt
sys.exit(main(["convert", *sys.argv[2:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["writing tensors", "checksums of the bundle"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_signal_leaves_nothing_that_loads(
    warm_python: WarmPython, tiny: Path, tmp_path: Path, how: signal.Signals, when: str
) -> None:
    destination, partial = tmp_path / "bundle", tmp_path / "bundle.partial"
    environment = os.environ | {"PYTHONPATH": str(Path(simple_clip_lstm_ros.__file__).parents[1])}
    words = ["-c", _CHILD, when, tiny, destination]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with warm_python.start(words, text=True, env=environment, **pipes) as process:
        assert process.stdout.readline() == "halted\n"
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert (process.returncode, err) == (130, "interrupted\n")
        assert not list(tmp_path.iterdir())
        return
    assert list(tmp_path.iterdir()) == [partial]
    for path in (destination, partial):
        with pytest.raises(CheckpointError, match=r"does not exist|it has no SHA256SUMS"):
            load_policy(path)
    assert f"{partial} exists: another conversion is running" in _refusal(tiny, destination)
    shutil.rmtree(partial)
    convert(tiny, destination)
    load_policy(destination)
