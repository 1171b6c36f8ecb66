"""Read the memory of this process, the machine and the GPU, in bytes; release memory that is not needed."""

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
    """Memory of a process, in bytes.

    Only this process can release `anonymous`; the rest of `resident` is mapped files, weights included.
    """

    resident: int
    anonymous: int
    peak: int  # largest `resident` so far


@dataclass(frozen=True)
class CudaMemory:
    """GPU memory in bytes: `allocated` by tensors and `reserved` by PyTorch in this process, `free` to everyone.

    On a GPU that is `shared` with the CPU (Jetson), `total` and `free` are the machine's: CUDA's own number of free
    bytes excludes the page cache there, which the system can reclaim.
    """

    name: str
    total: int
    free: int
    allocated: int
    reserved: int
    shared: bool


@dataclass(frozen=True)
class Memory:
    """Memory of process, machine, cgroup and GPU, in bytes. The system can give `available` without swapping."""

    process: ProcessMemory
    total: int
    available: int
    cgroup: CgroupMemory | None
    cuda: CudaMemory | None

    def figures(self) -> Iterator[tuple[str, str, int]]:
        """Yield (owner, kind, bytes) for each number that was read."""
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
    """Read the memory of this process, its cgroup, its GPU and the machine.

    The GPU is read if `device` is one. With `pid`, read that process instead, without cgroup and GPU. Raise DeviceError
    if the process does not exist.
    """
    gpu = None
    if device is not None and device.type == "cuda" and pid is None:
        # torch 2.3 accepts only a device with a number.
        gpu = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.mem_get_info(gpu)  # creates the context, so that its memory counts as used
    machine = psutil.virtual_memory()
    cuda = _read_cuda(gpu, machine) if gpu is not None else None
    group = read_cgroup() if pid is None else None
    return Memory(read_process(pid), machine.total, machine.available, group, cuda)


def read_process(pid: int | None = None) -> ProcessMemory:
    """Read the memory of the process `pid`, by default this one.

    Raise DeviceError if it does not exist or has no memory of its own.
    """
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
    """Release unneeded memory: unreachable objects, PyTorch's CUDA cache, free heap pages."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Release the heap's free pages, including those between pages in use."""
    # glibc keeps freed memory; other C libraries have no such call.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def freed_bytes(before: Memory, after: Memory) -> int:
    """Return the bytes released between two readings, of the process and of the GPU."""
    cuda = before.cuda.reserved - after.cuda.reserved if before.cuda and after.cuda else 0
    return max(0, before.process.anonymous - after.process.anonymous) + max(0, cuda)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a library raised `error` for lack of memory.

    Some CUDA libraries have no exception type for that, so the text is searched too.
    """
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in ("out of memory", "can't allocate memory", "ALLOC_FAILED"))
