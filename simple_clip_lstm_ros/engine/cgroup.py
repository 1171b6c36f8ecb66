"""The memory limit that a container or a service manager sets, from cgroup v2 or v1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class CgroupMemory:
    """Bytes. `used` is what cannot be taken back from the group: all but the page cache of files."""

    limit: int
    used: int

    @property
    def available(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class _Files:
    """What the two versions call the same things."""

    limit: str
    usage: str
    page_cache: tuple[str, str]


_V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def read_cgroup() -> CgroupMemory | None:
    """Of the limits on this process, the one that leaves the least; None where there is none."""
    machine = psutil.virtual_memory().total
    limited = (found for folder, files in _groups() if (found := _read(folder, files)) and found.limit < machine)
    return min(limited, key=lambda found: found.available, default=None)


def _groups() -> Iterator[tuple[Path, _Files]]:
    """This process's groups and all above them, as far as they can be seen from here.

    A container sees its own group as the root of the mount, and may read the host's path of it in /proc/self/cgroup.
    """
    mounts = [mount for mount in psutil.disk_partitions(all=True) if mount.fstype in ("cgroup", "cgroup2")]
    own = Path("/proc/self/cgroup")
    for line in own.read_text().splitlines() if own.exists() else ():  # a kernel may have no groups
        _, controllers, path = line.split(":", 2)
        for mount in mounts:
            root = Path(mount.mountpoint)
            is_v2 = not controllers and mount.fstype == "cgroup2"
            is_v1 = "memory" in controllers.split(",") and "memory" in mount.opts.split(",")
            if is_v2 or is_v1:
                group = root / path.lstrip("/")
                for folder in (group, *group.parents):
                    if folder.is_relative_to(root):
                        yield folder, _V2 if is_v2 else _V1


def _read(folder: Path, files: _Files) -> CgroupMemory | None:
    try:
        limit = (folder / files.limit).read_text().strip()
        usage = int((folder / files.usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:  # a path of the host that is not seen here, or a group without this controller
        return None
    if limit == "max":
        return None
    return CgroupMemory(int(limit), max(0, usage - sum(int(stat.get(name, 0)) for name in files.page_cache)))
