"""What memory this process, the machine and the GPU have and use, in bytes; and giving back what is not needed."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from simple_clip_lstm_ros.engine.cgroup import CgroupMemory, read_cgroup
from simple_clip_lstm_ros.errors import DeviceError


@dataclass(frozen=True)
class ProcessMemory:
    """`anonymous` is what only this process can give back; the rest of `resident` is files mapped, weights too."""

    resident: int
    anonymous: int
    peak: int  # of `resident`


@dataclass(frozen=True)
class CudaMemory:
    """`allocated` by tensors and `reserved` by PyTorch, of this process; `free` of all.

    On a GPU that is `shared` with the CPU (Jetson), `total` and `free` are the machine's: what CUDA itself calls free
    there leaves out the page cache, which the system gives back.
    """

    name: str
    total: int
    free: int
    allocated: int
    reserved: int
    shared: bool


@dataclass(frozen=True)
class Memory:
    """One look at all of it. `available` is what the system can give without swapping."""

    process: ProcessMemory
    total: int
    available: int
    cgroup: CgroupMemory | None
    cuda: CudaMemory | None

    def figures(self) -> Iterator[tuple[str, str, int]]:
        """Whose, which, and how many bytes: all that was seen."""
        yield "process", "resident", self.process.resident
        yield "process", "anonymous", self.process.anonymous
        yield "process", "peak", self.process.peak
        yield "machine", "total", self.total
        yield "machine", "available", self.available
        if self.cgroup:
            yield "container", "limit", self.cgroup.limit
            yield "container", "used", self.cgroup.used
        if self.cuda:
            owner = f"{self.cuda.name}, shared with the CPU" if self.cuda.shared else self.cuda.name
            for kind in ("total", "free", "allocated", "reserved"):
                yield owner, kind, getattr(self.cuda, kind)


def read_memory(device: torch.device | None = None, pid: int | None = None) -> Memory:
    """Of this process, its container and GPU (if `device` is one), or of the process `pid` alone; and of the machine.

    Raises DeviceError for a process that is not there.
    """
    gpu = None
    if device is not None and device.type == "cuda" and pid is None:
        # By number: torch 2.3 takes no device without one.
        gpu = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.mem_get_info(gpu)  # makes the context, so that what it takes counts as taken
    machine = psutil.virtual_memory()
    cuda = _read_cuda(gpu, machine) if gpu is not None else None
    group = read_cgroup() if pid is None else None
    return Memory(read_process(pid), machine.total, machine.available, group, cuda)


def read_process(pid: int | None = None) -> ProcessMemory:
    try:
        lines = Path(f"/proc/{'self' if pid is None else pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise DeviceError(f"there is no process {pid}") from None
    kilobytes = {words[0]: int(words[1]) for words in map(str.split, lines) if words[-1:] == ["kB"]}
    if "VmRSS:" not in kilobytes:
        raise DeviceError(f"process {pid} has no memory of its own: it has ended, or is the kernel's")
    return ProcessMemory(*(kilobytes[name] * 1024 for name in ("VmRSS:", "RssAnon:", "VmHWM:")))


def _read_cuda(device: int, machine: psutil._common.svmem) -> CudaMemory:
    properties = torch.cuda.get_device_properties(device)
    shared = bool(properties.is_integrated)
    free, total = (machine.available, machine.total) if shared else torch.cuda.mem_get_info(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    return CudaMemory(properties.name, total, free, allocated, reserved, shared)


def clear_memory() -> None:
    """Give back what is held without need: unreachable objects, PyTorch's CUDA cache, the heap's free pages."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Give back the heap's free pages, those between pages in use as well."""
    # glibc keeps what was freed; a system with another C library has no such call.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def freed_bytes(before: Memory, after: Memory) -> int:
    """Bytes that a clearing between the two has given back, of the process and of the GPU."""
    cuda = before.cuda.reserved - after.cuda.reserved if before.cuda and after.cuda else 0
    return max(0, before.process.anonymous - after.process.anonymous) + max(0, cuda)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library raised it for want of memory. Not all of CUDA's libraries have a type of their own for that."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in ("out of memory", "can't allocate memory", "ALLOC_FAILED"))
