"""The memory limit of a container, read from made-up trees of both versions and from a real group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import simple_clip_lstm_ros
from simple_clip_lstm_ros.engine import cgroup
from simple_clip_lstm_ros.engine.cgroup import CgroupMemory, read_cgroup

MB = 1_000_000
MACHINE = 16_000 * MB
V1_UNLIMITED = 9_223_372_036_854_771_712
V2_LINE, V1_LINES = "0::{}", "12:cpu,cpuacct:/\n4:memory:{}\n1:name=systemd:{}\n0::/"


class Tree:
    """A cgroup file system in a folder, mounted for `read_cgroup` to find."""

    def __init__(self, root: Path, version: int) -> None:
        self.root = root
        self.is_v2 = version == 2
        root.mkdir()

    def group(self, path: str, limit: object, used: int, inactive: int = 0, active: int = 0) -> None:
        """One group: `used` bytes, `inactive` and `active` of page cache besides."""
        folder = self.root / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        names = ("memory.max", "memory.current") if self.is_v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        for name, value in zip(names, (limit, used + inactive + active), strict=True):
            (folder / name).write_text(f"{value}\n")
        # v1 has the group's own figures, too, without those of the groups below: they must not be taken.
        prefix, own = ("", "") if self.is_v2 else ("total_", "inactive_file 1\nactive_file 1\n")
        cache = f"{prefix}inactive_file {inactive}\n{prefix}active_file {active}\n"
        (folder / "memory.stat").write_text(f"anon {used}\nfile {inactive + active}\n{own}{cache}")

    def process(self, path: str) -> str:
        """/proc/self/cgroup of a process in this group."""
        return (V2_LINE if self.is_v2 else V1_LINES).format(path, path)


@pytest.fixture(params=[2, 1], ids=["v2", "v1"])
def tree(request, tmp_path) -> Tree:
    return Tree(tmp_path / "cgroup", request.param)


@pytest.fixture
def read(tmp_path, monkeypatch) -> Callable[..., CgroupMemory | None]:
    """read_cgroup() of a process with this /proc/self/cgroup, where these trees are mounted."""

    def read(lines: str | None, *trees: Tree) -> CgroupMemory | None:
        own = tmp_path / "self_cgroup"
        if lines is not None:
            own.write_text(lines + "\n")
        mounts = [_mount(tmp_path / "disk", "ext4", "rw"), _mount(tmp_path / "cpu", "cgroup", "rw,cpu")]
        mounts += [_mount(t.root, "cgroup2" if t.is_v2 else "cgroup", "rw" if t.is_v2 else "rw,memory") for t in trees]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts if all else [])
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=MACHINE))
        redirected = {"/proc/self/cgroup": own}
        monkeypatch.setattr(cgroup, "Path", lambda path: redirected.get(path, Path(path)))
        return read_cgroup()

    return read


def _mount(folder: Path, kind: str, options: str) -> SimpleNamespace:
    return SimpleNamespace(device=kind, mountpoint=str(folder), fstype=kind, opts=options)


def test_the_limit_of_the_own_group_and_what_is_used_of_it(tree, read):
    tree.group("/robot", 4000 * MB, used=1500 * MB)
    assert read(tree.process("/robot"), tree) == CgroupMemory(4000 * MB, 1500 * MB)
    assert read_cgroup().available == 2500 * MB


def test_the_page_cache_is_not_used_memory(tree, read):
    tree.group("/robot", 4000 * MB, used=500 * MB, inactive=2000 * MB, active=1000 * MB)
    assert read(tree.process("/robot"), tree).used == 500 * MB


def test_a_container_whose_group_is_the_root_of_the_mount(tree, read):
    """Without a cgroup namespace /proc/self/cgroup names a path of the host, which is not there."""
    tree.group("/", 2000 * MB, used=100 * MB)
    for path in ("/docker/0123abcd", "/system.slice/docker-0123abcd.scope", "/../../robot.slice"):
        assert read(tree.process(path), tree) == CgroupMemory(2000 * MB, 100 * MB)


def test_a_container_in_a_namespace_of_its_own(tree, read):
    tree.group("/", 2000 * MB, used=100 * MB)
    assert read(tree.process("/"), tree) == CgroupMemory(2000 * MB, 100 * MB)


@pytest.mark.parametrize("tightest", range(3))
def test_of_nested_limits_the_one_that_leaves_the_least_decides(tree, read, tightest):
    left = [3000 * MB, 2000 * MB, 2500 * MB]
    left[tightest] = 1000 * MB
    for place, (path, rest) in enumerate(zip(("/a", "/a/b", "/a/b/c"), left, strict=True)):
        # Not the smallest limit: the tightest has the largest.
        used = 6000 * MB if place == tightest else 100 * MB
        tree.group(path, used + rest, used=used)
    found = read(tree.process("/a/b/c"), tree)
    assert (found.limit, found.available) == (7000 * MB, 1000 * MB)


def test_limits_of_other_groups_do_not_count(tree, read):
    tree.group("/robot", 4000 * MB, used=1500 * MB)
    tree.group("/robot/below", 10 * MB, used=9 * MB)
    tree.group("/other", 10 * MB, used=9 * MB)
    assert read(tree.process("/robot"), tree).limit == 4000 * MB


def test_a_group_that_uses_more_than_its_limit_leaves_nothing(tree, read):
    tree.group("/robot", 1000 * MB, used=1200 * MB)
    assert read(tree.process("/robot"), tree).available == 0


def test_a_page_cache_that_grows_between_two_looks_leaves_nothing_negative(tree, read):
    tree.group("/robot", 1000 * MB, used=-50 * MB, inactive=100 * MB)
    assert read(tree.process("/robot"), tree).used == 0


def test_no_limit_is_none(tree, read):
    tree.group("/robot", "max" if tree.is_v2 else V1_UNLIMITED, used=100 * MB)
    assert read(tree.process("/robot"), tree) is None


def test_a_limit_beyond_the_machine_is_none(tree, read):
    tree.group("/robot", 2 * MACHINE, used=100 * MB)
    assert read(tree.process("/robot"), tree) is None


def test_a_group_without_a_limit_leaves_that_above_it(tree, read):
    tree.group("/user", 3000 * MB, used=100 * MB)
    tree.group("/user/robot", "max" if tree.is_v2 else V1_UNLIMITED, used=100 * MB)
    assert read(tree.process("/user/robot"), tree).limit == 3000 * MB


@pytest.mark.parametrize("pattern", ["memory.[ml][ai][xm]*", "memory.[cu][us]*", "memory.stat", "*"])
def test_a_group_with_files_missing_is_passed_over(tree, read, pattern):
    tree.group("/user", 3000 * MB, used=100 * MB)
    tree.group("/user/robot", 1000 * MB, used=100 * MB)
    missing = list((tree.root / "user" / "robot").glob(pattern))
    assert missing
    for file in missing:
        file.unlink()
    assert read(tree.process("/user/robot"), tree).limit == 3000 * MB


def test_a_machine_without_mounted_groups_has_no_limit(tree, read):
    assert read(tree.process("/robot")) is None


def test_a_system_without_groups_at_all_has_no_limit(read):
    assert read(None) is None


def test_in_a_hybrid_system_the_version_that_has_the_memory_decides(tmp_path, read):
    v1, v2 = Tree(tmp_path / "v1", 1), Tree(tmp_path / "v2", 2)
    v1.group("/robot", 1000 * MB, used=100 * MB)
    (v2.root / "cgroup.procs").touch()
    assert read(v1.process("/robot"), v1, v2).limit == 1000 * MB


# A real one.

_CHILD = """
import json, sys
sys.stdin.readline()  # until this process is in its group
from simple_clip_lstm_ros.engine.cgroup import read_cgroup

def seen():
    found = read_cgroup()
    return found and [found.limit, found.used]

begin = seen()
taken = bytearray(b"1") * 150_000_000
grown = seen()
with open(sys.argv[1], "wb") as file:
    for _ in range(100):
        file.write(bytes(1_000_000))
cached = seen()
from simple_clip_lstm_ros.engine.memory_estimate import available_memory
from simple_clip_lstm_ros.engine.memory import read_memory
from simple_clip_lstm_ros.errors import ConfigError
memory = read_memory()
try:
    refusal = available_memory(memory, 1.01 * memory.cgroup.limit / 1e9)
except ConfigError as error:
    refusal = str(error)
print(json.dumps({
    "begin": begin, "grown": grown, "cached": cached, "refusal": refusal,
    "capacity": available_memory(memory, 0.0), "anonymous": memory.process.anonymous,
    "available": memory.cgroup.available, "machine": memory.available,
}))
"""


@contextmanager
def real_group(limit: int) -> Iterator[Path]:
    """A new memory group at the top, with this limit. Skips where this process may not make one."""
    mounts = [mount for mount in psutil.disk_partitions(all=True) if mount.fstype in ("cgroup", "cgroup2")]
    v1 = [Path(mount.mountpoint) for mount in mounts if "memory" in mount.opts.split(",")]
    v2 = [Path(mount.mountpoint) for mount in mounts if mount.fstype == "cgroup2"]
    v2 = [root for root in v2 if "memory" in _text(root / "cgroup.subtree_control").split()]
    if not v1 + v2:
        pytest.skip("no memory controller is mounted here, or it is not on for new groups")
    group = (v1 + v2)[0] / f"simple_clip_lstm_test_{uuid.uuid4().hex[:12]}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"this process may not make a memory group: {error}")
    try:
        try:
            (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"this process may not set the limit of a memory group: {error}")
        yield group
    finally:
        group.rmdir()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.mark.slow
def test_a_process_in_a_real_group_sees_its_limit(tmp_path):
    limit = 1024 << 20  # whole pages
    with real_group(limit) as group:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path / "cache")],
            env=os.environ | {"PYTHONPATH": str(Path(simple_clip_lstm_ros.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            try:
                (group / "cgroup.procs").write_text(str(child.pid))
            except OSError as error:
                pytest.skip(f"this process may not move another into a memory group: {error}")
            answer, error = child.communicate("go\n", timeout=120)
        finally:
            child.kill()
            child.wait()
    assert child.returncode == 0, error
    seen = json.loads(answer)
    assert seen["begin"][0] == seen["grown"][0] == limit
    assert 145e6 < seen["grown"][1] - seen["begin"][1] < 200e6, "memory that was taken is used"
    assert seen["cached"][1] - seen["grown"][1] < 50e6, "a file that was written is not"
    if seen["machine"] > seen["available"]:
        assert seen["capacity"] == seen["anonymous"] + seen["available"]
    assert seen["capacity"] <= limit * 1.02
    assert "more than there is here: 1.1 GB" in seen["refusal"]
