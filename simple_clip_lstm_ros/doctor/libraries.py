"""Checks of Python and its libraries: versions, duplicates, and whether they work together and with the GPU."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from simple_clip_lstm_ros.doctor.finding import Finding, Host, ProbeError, Verdict, run_json
from simple_clip_lstm_ros.errors import EXTRAS

_PACKAGE = "simple_clip_lstm_ros"
# Distributions whose module has another name.
_MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "PyYAML": "yaml"}
_GPU = ("nvidiactl", "nvmap")
_GPU_OF_JETSON = ("nvgpu/*/*", "dri/render*")  # in addition to _GPU
_LIBRARIES = r"/usr/local/cuda[^/]*(/lib64)?|/usr/lib|/usr/lib/(aarch64|x86_64)-linux-gnu"
_MODELS = ("torch", "transformers", "safetensors")  # ERROR if too old; others mostly work
_TORCH = """
import json, torch
result = {"version": torch.__version__, "built": torch.version.cuda, "cuda": "", "numpy": ""}
try:
    torch.cuda.init()
    result["cuda"] = torch.cuda.get_device_name()
except Exception as error:
    result["why"] = str(error).strip().splitlines()[0]
try:
    import numpy
    torch.from_numpy(numpy.zeros(1)).numpy()
except Exception as error:
    result["numpy"] = str(error).strip().splitlines()[0]
print(json.dumps(result))
"""
_MODEL = """
import json, torch, transformers
if takes_torch := transformers.utils.is_torch_available():
    import simple_clip_lstm_ros.checkpoint.load
print(json.dumps(takes_torch))
"""
_BRIDGE = """
import json, numpy
from importlib.util import find_spec
result = {"there": find_spec("cv_bridge") is not None, "numpy": numpy.__version__}
if result["there"]:
    from simple_clip_lstm_ros.data.image_decoding import READER
    result["reader"] = READER
print(json.dumps(result))
"""
# Part of the error message of a missing library -> how to install it.
_REMEDIES = {
    "libopenblas": "apt-get install libopenblas-dev",
    "libcudnn": "use an image whose cuDNN is the one that this PyTorch was built for; mount no host libraries",
    "libcu": "use the image's own PyTorch with `--runtime nvidia` (Jetson) or `--gpus all`; mount no host libraries",
    "GLIBC": "libraries of the host are mounted over the container's: remove those mounts and LD_LIBRARY_PATH",
    "undefined symbol": "libraries of two builds are mixed: remove mounts and LD_LIBRARY_PATH, or reinstall PyTorch",
    "No module named": "pip install it into this Python, or use the Python that has it",
    "is required for a normal functioning": "pip install the version that it asks for",
}


def check_libraries(host: Host) -> Iterator[Finding]:
    yield from check_versions()
    yield from check_torch(host)
    if host.is_container:
        yield check_mounts(host)
    yield check_model_code()
    yield check_cv_bridge()
    yield check_opencv()


def check_versions() -> Iterator[Finding]:
    """Check the installed versions against the requirements of the installed package."""
    try:
        own = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        says = f"{_PACKAGE} is not installed: what it needs is not known"
        yield Finding("versions", Verdict.WARN, says, "build the workspace and source it, or pip install the package")
        return
    python, allowed = platform.python_version(), own.metadata["Requires-Python"] or ""
    if SpecifierSet(allowed).contains(python):
        yield Finding("python", Verdict.OK, f"{python} ({sys.executable})")
    else:
        yield Finding("python", Verdict.ERROR, python, f"use a Python {allowed}")
    requirements = [Requirement(line) for line in own.requires or []]
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    present = [*needed, *_installed_extras(requirements)]
    mismatches = [finding for each in present if (finding := _check_version(each))]
    yield from mismatches
    if not mismatches:
        listed = ", ".join(f"{each.name} {_installed_version(each.name) or '(of the system)'}" for each in present)
        yield Finding("versions", Verdict.OK, listed)


def _installed_extras(requirements: list[Requirement]) -> list[Requirement]:
    """Return the installed requirements of extras, each once: an old one fails in the subcommand that uses it."""
    names = {extra for extras in EXTRAS.values() for extra in extras}
    markers = {each: each.marker for each in requirements if each.marker and "extra" in str(each.marker)}
    brought = [each for each, marker in markers.items() if any(marker.evaluate({"extra": name}) for name in names)]
    return [*{each.name: each for each in brought if _installed_version(each.name)}.values()]


def _check_version(requirement: Requirement) -> Finding | None:
    name, found = requirement.name, _installed_version(requirement.name)
    if found is None and find_spec(_MODULES.get(name, name)) is None:
        return Finding(name, Verdict.ERROR, "is not installed", f"pip install '{requirement}'")
    if found is None or requirement.specifier.contains(found, prereleases=True):
        return None
    verdict = Verdict.ERROR if name in _MODELS else Verdict.WARN
    return Finding(name, verdict, f"{found}, and {requirement} is asked for", f"pip install '{requirement}'")


def _installed_version(name: str) -> str | None:
    """Return the version from pip; None for a missing package or one from apt."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_torch(host: Host) -> Iterator[Finding]:
    try:
        result = run_json("-c", _TORCH)
    except ProbeError as error:
        yield Finding("torch works", Verdict.ERROR, str(error), _remedy(str(error), "PyTorch"))
        return
    if result["numpy"]:
        says = f"torch {result['version']} does not work with this NumPy: {result['numpy']}"
        yield Finding("torch works", Verdict.ERROR, says, "pip install 'numpy<2'")
    else:
        yield Finding("torch works", Verdict.OK, "with NumPy")
    yield check_cuda(host, result["built"], result["cuda"], result.get("why", ""))


def _remedy(message: str, library: str) -> str:
    return next((remedy for words, remedy in _REMEDIES.items() if words in message), f"reinstall {library}")


def check_cuda(host: Host, built: str | None, gpu: str, why: str) -> Finding:
    """Compare what torch and the system report about the GPU.

    `built` is the CUDA version of the PyTorch build, `gpu` the device name ("": none), `why` torch's error.
    """
    if gpu:
        return Finding("cuda", Verdict.OK, f"{gpu}, CUDA {built}")
    if any(host.path(f"/dev/{device}").exists() for device in _GPU):
        return _unused_gpu(host, built, why)
    if host.is_jetson or (built and host.is_container):
        remedy = "start the container with `--runtime nvidia` (Jetson) or `--gpus all`"
        return Finding("cuda", Verdict.WARN, "the GPU is not seen from here: the CPU would do the work", remedy)
    return Finding("cuda", Verdict.OK, "no GPU: the CPU does the work")


def _unused_gpu(host: Host, built: str | None, why: str) -> Finding:
    """Return why torch does not use a GPU that exists."""
    if not built:
        remedy = "install the PyTorch of NVIDIA's JetPack" if host.is_jetson else "install a PyTorch with CUDA"
        return Finding("cuda", Verdict.WARN, "there is a GPU, and this PyTorch is built without CUDA", remedy)
    patterns = _GPU + _GPU_OF_JETSON if host.is_jetson else _GPU
    devices = [device for pattern in patterns for device in sorted(host.path("/dev").glob(pattern))]
    closed = [device for device in devices if not os.access(device, os.R_OK)]
    if closed:
        groups = sorted({f"--group-add {device.stat().st_gid}" for device in closed})
        remedy = f"start it with {' '.join(groups)}" if host.is_container else "sudo usermod -aG video,render $USER"
        return Finding("cuda", Verdict.ERROR, f"this user may not open {', '.join(map(str, closed))}", remedy)
    return Finding("cuda", Verdict.ERROR, f"PyTorch for CUDA {built} cannot use the GPU: {why}", _REMEDIES["libcu"])


def check_mounts(host: Host) -> Finding:
    """Check that no library folders of the host are mounted; NVIDIA's runtime mounts single files."""
    mounted = [
        words[4] for words in map(str.split, host.read_text("/proc/self/mountinfo").splitlines()) if len(words) > 4
    ]
    overlaid = sorted(path for path in mounted if re.fullmatch(_LIBRARIES, path))
    if overlaid:
        remedy = "remove that mount: NVIDIA's runtime brings what belongs to the driver, the image brings the rest"
        says = f"{', '.join(overlaid)} of the host is mounted over the container's own"
        return Finding("mounts", Verdict.WARN, says, remedy)
    return Finding("mounts", Verdict.OK, "the container has its own libraries")


def check_model_code() -> Finding:
    """Check that the model's code imports.

    If transformers finds PyTorch too old, it ignores it and fails much later.
    """
    try:
        takes_torch = run_json("-c", _MODEL)
    except ProbeError as error:
        says = f"does not import: {error}"
        return Finding("model's code", Verdict.ERROR, says, _remedy(str(error), "transformers"))
    if not takes_torch:
        transformers, torch = (_installed_version(name) for name in ("transformers", "torch"))
        says = f"transformers {transformers} wants a newer PyTorch than {torch}"
        return Finding("model's code", Verdict.ERROR, says, "pip install 'transformers<5', or a newer PyTorch")
    return Finding("model's code", Verdict.OK, "imports")


def check_cv_bridge() -> Finding:
    try:
        result = run_json("-c", _BRIDGE)
    except ProbeError as error:
        says = f"cv_bridge does not work with this NumPy: {error}"
        return Finding("cv_bridge", Verdict.ERROR, says, "pip install 'numpy<2', for which ROS built it")
    if not result["there"]:
        return Finding("cv_bridge", Verdict.OK, "is not installed: NumPy and OpenCV read the images")
    if result["reader"] == "cv_bridge":
        return Finding("cv_bridge", Verdict.OK, f"works with NumPy {result['numpy']}")
    says = f"is built for another NumPy than {result['numpy']}: images are read without it, other nodes may crash"
    return Finding("cv_bridge", Verdict.WARN, says, "pip install 'numpy<2', for which ROS built it")


def check_opencv() -> Finding:
    """Check that OpenCV is installed once; two copies overwrite or hide each other's files."""
    wheels = sorted({d.name for d in metadata.distributions() if d.name.lower().startswith("opencv-")})
    places = sorted({str(f) for folder in sys.path for name in ("cv2", "cv2.*.so") for f in Path(folder).glob(name)})
    copies = wheels if len(wheels) > len(places) else places
    if len(copies) < 2:
        return Finding("OpenCV", Verdict.OK, (wheels or places or ["comes with ROS"])[0])
    remedy = "keep the first: pip uninstall the others (with apt's python3-opencv there, all of pip's)"
    return Finding("OpenCV", Verdict.WARN, f"is there {len(copies)} times: {', '.join(copies)}", remedy)
