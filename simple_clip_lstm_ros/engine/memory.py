"""What memory this process, the machine and the GPU have and use, in bytes; and giving back what is not needed."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import dataclass

import psutil
import torch

from simple_clip_lstm_ros.engine.cgroup import CgroupMemory, read_cgroup


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


def read_memory(device: torch.device | None = None) -> Memory:
    """Of this process and machine; of the GPU if `device` is one."""
    machine = psutil.virtual_memory()
    cuda = _read_cuda(device, machine) if device is not None and device.type == "cuda" else None
    return Memory(read_process(), machine.total, machine.available, read_cgroup(), cuda)


def read_process() -> ProcessMemory:
    with open("/proc/self/status") as file:
        kilobytes = {words[0]: int(words[1]) for words in map(str.split, file) if words[-1] == "kB"}
    return ProcessMemory(*(kilobytes[name] * 1024 for name in ("VmRSS:", "RssAnon:", "VmHWM:")))


def _read_cuda(device: torch.device, machine: psutil._common.svmem) -> CudaMemory:
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
    # glibc keeps what was freed; a system with another C library has no such call.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def freed(before: Memory, after: Memory) -> int:
    """Bytes that a clearing between the two has given back, of the process and of the GPU."""
    cuda = before.cuda.reserved - after.cuda.reserved if before.cuda and after.cuda else 0
    return max(0, before.process.anonymous - after.process.anonymous) + max(0, cuda)
