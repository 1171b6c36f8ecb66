"""The memory limit that a container or a service manager sets, read from cgroup v2 or v1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class CgroupMemory:
    """Memory limit and use of a cgroup, in bytes.

    `used` excludes the page cache of files, which the kernel can reclaim.
    """

    limit: int
    used: int

    @property
    def available(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class _FileNames:
    """File and field names of one cgroup version."""

    limit: str
    usage: str
    page_cache: tuple[str, str]


_V2 = _FileNames("memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = _FileNames("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def read_cgroup() -> CgroupMemory | None:
    """Return the limit on this process that leaves the least memory, or None without a limit."""
    total = psutil.virtual_memory().total
    limited = (found for folder, names in _groups() if (found := _read_group(folder, names)) and found.limit < total)
    return min(limited, key=lambda found: found.available, default=None)


def _groups() -> Iterator[tuple[Path, _FileNames]]:
    """Yield this process's groups and all their parents, as far as they are visible from here.

    A container sees its own group as the root of the mount, and may read the host's path of it in /proc/self/cgroup.
    """
    mounts = [mount for mount in psutil.disk_partitions(all=True) if mount.fstype in ("cgroup", "cgroup2")]
    own = Path("/proc/self/cgroup")
    for line in own.read_text().splitlines() if own.exists() else ():  # a kernel may lack cgroups
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


def _read_group(folder: Path, names: _FileNames) -> CgroupMemory | None:
    try:
        limit = (folder / names.limit).read_text().strip()
        usage = int((folder / names.usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:  # a host path that is not visible here, or a group without this controller
        return None
    if limit == "max":
        return None
    return CgroupMemory(int(limit), max(0, usage - sum(int(stat.get(name, 0)) for name in names.page_cache)))
