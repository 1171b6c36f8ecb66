"""Faults are planted, and the doctor finds each and says what to do; of what is right it does not complain."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from simple_clip_lstm_ros.doctor import libraries, resources, transport
from simple_clip_lstm_ros.doctor.finding import Finding, Host, Verdict
from simple_clip_lstm_ros.doctor.resources import check_cameras

Plant = Callable[[Path, pytest.MonkeyPatch], Iterable[Finding]]
FAULTS: dict[str, tuple[Plant, str, Verdict, str]] = {}


def fault(check: str, verdict: Verdict, words: str) -> Callable[[Plant], Plant]:
    """A fault that is planted, and what the doctor must say of it."""

    def note(plant: Plant) -> Plant:
        FAULTS[plant.__name__] = (plant, check, verdict, words)
        return plant

    return note


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def bring(folder: Path, patch: pytest.MonkeyPatch, **modules: str) -> None:
    """Modules that hide those of the same name, in this process and in those that it starts."""
    for name, text in modules.items():
        write(folder / name / "__init__.py", text)
    patch.syspath_prepend(str(folder))
    patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def claim(folder: Path, patch: pytest.MonkeyPatch, name: str, version: str) -> None:
    """That this version of a library is installed."""
    write(
        folder / f"{name}-{version}.dist-info" / "METADATA",
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    )
    patch.syspath_prepend(str(folder))


@fault("transformers", Verdict.ERROR, "4.30.2, and transformers>=4.46 is asked for")
def old_transformers(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    claim(root, patch, "transformers", "4.30.2")
    return libraries.check_versions()


@fault("rich", Verdict.WARN, "9.0.0, and rich>=")
def old_rich(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    claim(root, patch, "rich", "9.0.0")
    return libraries.check_versions()


@fault("shapely", Verdict.WARN, "1.8.0, and shapely>=2")
def old_library_of_an_extra(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    claim(root, patch, "shapely", "1.8.0")
    return libraries.check_versions()


@fault("python", Verdict.ERROR, "3.8.10")
def old_python(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    patch.setattr(libraries.platform, "python_version", lambda: "3.8.10")
    return libraries.check_versions()


@fault("OpenCV", Verdict.WARN, "is there 2 times: opencv-contrib-python, opencv-python-headless")
def two_wheels_of_opencv(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    claim(root, patch, "opencv-contrib-python", "4.9.0")
    return [libraries.check_opencv()]


@fault("OpenCV", Verdict.WARN, "dist-packages/cv2.cpython-310-aarch64-linux-gnu.so")
def opencv_of_apt_beside_that_of_pip(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    patch.syspath_prepend(str(write(root / "dist-packages" / "cv2.cpython-310-aarch64-linux-gnu.so").parent))
    return [libraries.check_opencv()]


@fault("torch works", Verdict.ERROR, "libopenblas.so.0: cannot open shared object file")
def no_openblas(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    bring(root, patch, torch="raise OSError('libopenblas.so.0: cannot open shared object file')")
    return libraries.check_torch(Host(root))


TORCH = """
__version__ = "2.3.0"
class version: cuda = {built!r}
class cuda:
    def init(): raise RuntimeError({why!r})
def from_numpy(values): {numpy}
"""
WORKS = "return type('Tensor', (), {'numpy': lambda self: values})()"


@fault("torch works", Verdict.ERROR, "Numpy is not available")
def numpy_2_with_a_torch_for_numpy_1(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    numpy = "raise RuntimeError('Numpy is not available')"
    bring(root, patch, torch=TORCH.format(built=None, why="no CUDA", numpy=numpy))
    return libraries.check_torch(Host(root))


@fault("cuda", Verdict.ERROR, "driver too old")
def a_gpu_that_torch_cannot_use(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / "dev" / "nvidiactl")
    bring(root / "site", patch, torch=TORCH.format(built="12.2", why="driver too old", numpy=WORKS))
    return libraries.check_torch(Host(root))


@fault("cuda", Verdict.ERROR, "this user may not open")
def a_gpu_of_another_group(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / "dev" / "nvmap")
    patch.setattr(libraries.os, "access", lambda path, mode: False)
    return [libraries.check_cuda(Host(root), "12.2", "", "no CUDA-capable device is detected")]


@fault("cuda", Verdict.WARN, "this PyTorch is built without CUDA")
def a_gpu_and_a_torch_of_pypi(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / "dev" / "nvmap")
    bring(root / "site", patch, torch=TORCH.format(built=None, why="no CUDA", numpy=WORKS))
    return libraries.check_torch(Host(root))


@fault("cuda", Verdict.WARN, "the GPU is not seen from here")
def a_jetson_whose_container_was_started_without_the_runtime(
    root: Path, patch: pytest.MonkeyPatch
) -> Iterable[Finding]:
    write(root / "proc" / "device-tree" / "model", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0")
    return [libraries.check_cuda(Host(root), "12.2", "", "no driver")]


@fault("mounts", Verdict.WARN, "/usr/local/cuda-12.2")
def libraries_of_the_host(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    mount = "36 35 98:0 /x {} rw - ext4 /dev/root rw\n"
    mounts = mount.format("/usr/local/cuda-12.2") + mount.format("/usr/lib/aarch64-linux-gnu/libcuda.so.1")
    write(root / "proc" / "self" / "mountinfo", mounts)
    return [libraries.check_mounts(Host(root))]


@fault("cv_bridge", Verdict.WARN, "is built for another NumPy")
def a_cv_bridge_that_does_not_import(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    bring(root, patch, cv_bridge="raise ImportError('numpy.core.multiarray failed to import')")
    return [libraries.check_cv_bridge()]


@fault("model's code", Verdict.ERROR, "cannot import name 'Kosmos2Model'")
def a_transformers_without_kosmos(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    bring(root, patch, transformers="raise ImportError(\"cannot import name 'Kosmos2Model' from 'transformers'\")")
    return [libraries.check_model_code()]


@fault("model's code", Verdict.ERROR, "safetensors>=0.8.0 is required for a normal functioning")
def a_transformers_with_an_old_safetensors(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    says = "safetensors>=0.8.0 is required for a normal functioning of this module\nTry: `pip install ... -U`"
    bring(root, patch, transformers=f"raise ImportError({says!r})")
    return [libraries.check_model_code()]


@fault("model's code", Verdict.ERROR, "wants a newer PyTorch than")
def a_transformers_that_goes_without_this_torch(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    bring(root, patch, transformers="class utils: is_torch_available = lambda: False")
    return [libraries.check_model_code()]


@fault("memory", Verdict.ERROR, "only 0.3 GB are free")
def no_memory(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    patch.setattr(psutil, "virtual_memory", lambda: namedtuple("Memory", "total available")(16e9, 0.3e9))
    return [resources.check_memory()]


@fault("swap", Verdict.WARN, "1.5 GB are swapped out")
def swapped_out(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    patch.setattr(psutil, "swap_memory", lambda: namedtuple("Swap", "total used")(8e9, 1.5e9))
    return [resources.check_swap()]


@fault("logs", Verdict.ERROR, "cannot be written")
def logs_that_cannot_be_written(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    file = write(root / "file")
    return [resources.check_disk(Host(root, {"HOME": str(root), "ROS_LOG_DIR": str(file / "log")}))]


@fault("logs", Verdict.WARN, "0.2 GB are free")
def a_full_disk(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    patch.setattr(shutil, "disk_usage", lambda path: namedtuple("Disk", "total free")(64e9, 0.2e9))
    return [resources.check_disk(Host(root, {"HOME": str(root)}))]


@fault("heat", Verdict.WARN, "96 °C")
def a_hot_board(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / "sys" / "class" / "thermal" / "thermal_zone0" / "temp", "51000\n")
    write(root / "sys" / "class" / "thermal" / "thermal_zone1" / "temp", "96000\n")
    return [resources.check_temperature(Host(root))]


@fault("power mode", Verdict.WARN, "15W 2")
def a_slow_power_mode(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / "nvpmodel", "#!/bin/sh\necho 'NV Power Mode: 15W'\necho 2\n").chmod(0o755)
    patch.setenv("PATH", str(root), prepend=os.pathsep)
    return [resources.check_power_mode()]


@fault("domain", Verdict.ERROR, "ROS_DOMAIN_ID is '300'")
def a_domain_that_there_is_not(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    return [transport.check_domain(Host(root, {"ROS_DOMAIN_ID": "300"}))]


UDP = (
    "  sl  local_address rem_address   st\n  4: 00000000:{:04X} 00000000:0000 07\n  5: 0100007F:0035 00000000:0000 07\n"
)


@fault("domain", Verdict.WARN, "nobody is in domain 7 on this machine, and somebody in 42")
def another_domain_than_the_robots(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / "proc" / "net" / "udp", UDP.format(7400 + 250 * 42))
    return [transport.check_domain(Host(root, {"ROS_DOMAIN_ID": "7"}))]


@fault("reach", Verdict.WARN, "ROS_LOCALHOST_ONLY")
def localhost_only(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    return [transport.check_discovery_range(Host(root, {"ROS_LOCALHOST_ONLY": "1"}))]


@fault("reach", Verdict.ERROR, "nodes do not discover each other")
def discovery_off(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    return [transport.check_discovery_range(Host(root, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "off"}))]


@fault("profile", Verdict.ERROR, "FASTRTPS_DEFAULT_PROFILES_FILE names /nowhere/fastdds.xml, which is not there")
def a_profile_in_somebody_elses_home(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    return [transport.check_dds_profile(Host(root, {"FASTRTPS_DEFAULT_PROFILES_FILE": "/nowhere/fastdds.xml"}))]


@fault("profile", Verdict.WARN, "does nothing for rmw_cyclonedds_cpp")
def a_profile_of_another_middleware(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    named = {"FASTDDS_DEFAULT_PROFILES_FILE": str(write(root / "fastdds.xml"))}
    return [transport.check_dds_profile(Host(root, named | {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}))]


@fault("shared memory", Verdict.WARN, "/dev/shm has 64 MB")
def dockers_own_shared_memory(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    (root / "dev" / "shm").mkdir(parents=True)
    patch.setattr(shutil, "disk_usage", lambda path: namedtuple("Disk", "total free")(64e6, 64e6))
    return [transport.check_shared_memory(Host(root))]


@fault("socket buffers", Verdict.WARN, "net.core.rmem_max is 212992")
def small_buffers(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / "proc" / "sys" / "net" / "core" / "rmem_max", "212992\n")
    return [transport.check_socket_buffers(Host(root))]


@fault("network", Verdict.ERROR, "a network of its own")
def a_container_without_the_hosts_network(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    for card, index, link in (("lo", 1, 1), ("eth0", 2, 37)):
        write(root / "sys" / "class" / "net" / card / "ifindex", f"{index}\n")
        write(root / "sys" / "class" / "net" / card / "iflink", f"{link}\n")
    return [transport.check_network(Host(root))]


@fault("cameras", Verdict.WARN, "/dev/video*")
def a_container_without_the_camera(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    write(root / ".dockerenv")
    return check_cameras(Host(root), None)


@fault("camera /dev/video77", Verdict.ERROR, "does not open")
def a_camera_that_is_not_there(root: Path, patch: pytest.MonkeyPatch) -> Iterable[Finding]:
    return check_cameras(Host(root), "/dev/video77")


@pytest.mark.parametrize("name", FAULTS)
def test_it_finds_a_planted_fault_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plant, check, verdict, words = FAULTS[name]
    (found,) = [each for each in plant(tmp_path, monkeypatch) if each.check == check]
    assert found.verdict is verdict and words in found.says
    assert found.remedy and "\n" not in found.says + found.remedy


def test_it_finds_nothing_wrong_with_the_libraries_of_these_tests(tmp_path: Path) -> None:
    wrong = [each for each in libraries.check_libraries(Host(tmp_path)) if each.verdict is not Verdict.OK]
    assert not wrong
