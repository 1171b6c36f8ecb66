"""Python and its libraries: versions, doubles, and whether they work with one another and with the GPU."""

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

_PACKAGE = "simple_clip_lstm_ros"
# Where a library's module has another name.
_MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "PyYAML": "yaml", "scikit-image": "skimage"}
_GPU = ("nvidiactl", "nvmap")
_GPU_OF_JETSON = ("nvgpu/*/*", "dri/render*")  # besides
_LIBRARIES = r"/usr/local/cuda[^/]*(/lib64)?|/usr/lib|/usr/lib/(aarch64|x86_64)-linux-gnu"
_MODELS = ("torch", "transformers", "tokenizers", "safetensors")  # of the others an older one mostly does
_TORCH = """
import json, torch
told = {"version": torch.__version__, "built": torch.version.cuda, "cuda": "", "numpy": ""}
try:
    torch.cuda.init()
    told["cuda"] = torch.cuda.get_device_name()
except Exception as error:
    told["why"] = str(error).strip().splitlines()[0]
try:
    import numpy
    torch.from_numpy(numpy.zeros(1)).numpy()
except Exception as error:
    told["numpy"] = str(error).strip().splitlines()[0]
print(json.dumps(told))
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
told = {"there": find_spec("cv_bridge") is not None, "numpy": numpy.__version__}
if told["there"]:
    from simple_clip_lstm_ros.data.image_decoding import READER
    told["reader"] = READER
print(json.dumps(told))
"""
# What a loader says of a library that lacks -> what brings it.
_LACKING = {
    "libopenblas": "apt-get install libopenblas-dev",
    "libcudnn": "use an image whose cuDNN is the one that this PyTorch was built for; mount no host libraries",
    "libcu": "use the image's own PyTorch with `--runtime nvidia` (Jetson) or `--gpus all`; mount no host libraries",
    "GLIBC": "libraries of the host are mounted over the container's: remove those mounts and LD_LIBRARY_PATH",
    "undefined symbol": "libraries of two builds are mixed: remove mounts and LD_LIBRARY_PATH, or install PyTorch anew",
    "No module named": "pip install it into this Python, or use the Python that has it",
    "is required for a normal functioning": "pip install the version that it asks for",
}


def libraries(here: Host) -> Iterator[Finding]:
    yield from versions()
    yield from works(here)
    if here.is_container:
        yield mounts(here)
    yield code()
    yield bridge()
    yield opencv()


def versions() -> Iterator[Finding]:
    """Against what setup.py asks for, as it was installed."""
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
    asked = [Requirement(line) for line in own.requires or []]
    needed = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    unfit = [finding for each in needed if (finding := _misfit(each))]
    yield from unfit
    if not unfit:
        told = ", ".join(f"{each.name} {_found(each.name) or '(of the system)'}" for each in needed)
        yield Finding("versions", Verdict.OK, told)


def _misfit(asked: Requirement) -> Finding | None:
    found = _found(asked.name)
    if found is None and find_spec(_MODULES.get(asked.name, asked.name)) is None:
        return Finding(asked.name, Verdict.ERROR, "is not installed", f"pip install '{asked}'")
    if found is None or asked.specifier.contains(found, prereleases=True):
        return None
    verdict = Verdict.ERROR if asked.name in _MODELS else Verdict.WARN
    return Finding(asked.name, verdict, f"{found}, and {asked} is asked for", f"pip install '{asked}'")


def _found(name: str) -> str | None:
    """None for what apt brought, or for what is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def works(here: Host) -> Iterator[Finding]:
    try:
        told = run_json("-c", _TORCH)
    except ProbeError as error:
        yield Finding("torch works", Verdict.ERROR, str(error), _remedy(str(error), "PyTorch"))
        return
    if told["numpy"]:
        says = f"torch {told['version']} does not work with this NumPy: {told['numpy']}"
        yield Finding("torch works", Verdict.ERROR, says, "pip install 'numpy<2'")
    else:
        yield Finding("torch works", Verdict.OK, "with NumPy")
    yield cuda(here, told["built"], told["cuda"], told.get("why", ""))


def _remedy(message: str, library: str) -> str:
    return next((remedy for words, remedy in _LACKING.items() if words in message), f"install {library} anew")


def cuda(here: Host, built: str | None, gpu: str, why: str) -> Finding:
    """The GPU, as torch and as the system see it."""
    if gpu:
        return Finding("cuda", Verdict.OK, f"{gpu}, CUDA {built}")
    if any(here.path(f"/dev/{device}").exists() for device in _GPU):
        return _unused(here, built, why)
    if here.is_jetson or (built and here.is_container):
        remedy = "start the container with `--runtime nvidia` (Jetson) or `--gpus all`"
        return Finding("cuda", Verdict.WARN, "the GPU is not seen from here: the CPU would do the work", remedy)
    return Finding("cuda", Verdict.OK, "no GPU: the CPU does the work")


def _unused(here: Host, built: str | None, why: str) -> Finding:
    """There is a GPU, and torch does without it."""
    if not built:
        remedy = "install the PyTorch of NVIDIA's JetPack" if here.is_jetson else "install a PyTorch with CUDA"
        return Finding("cuda", Verdict.WARN, "there is a GPU, and this PyTorch is built without CUDA", remedy)
    patterns = _GPU + _GPU_OF_JETSON if here.is_jetson else _GPU
    devices = [device for pattern in patterns for device in sorted(here.path("/dev").glob(pattern))]
    closed = [device for device in devices if not os.access(device, os.R_OK)]
    if closed:
        groups = sorted({f"--group-add {device.stat().st_gid}" for device in closed})
        remedy = f"start it with {' '.join(groups)}" if here.is_container else "sudo usermod -aG video,render $USER"
        return Finding("cuda", Verdict.ERROR, f"this user may not open {', '.join(map(str, closed))}", remedy)
    return Finding("cuda", Verdict.ERROR, f"PyTorch for CUDA {built} cannot use the GPU: {why}", _LACKING["libcu"])


def mounts(here: Host) -> Finding:
    """Folders of libraries; NVIDIA's runtime mounts single files."""
    places = [words[4] for words in map(str.split, here.read("/proc/self/mountinfo").splitlines()) if len(words) > 4]
    over = sorted(place for place in places if re.fullmatch(_LIBRARIES, place))
    if over:
        remedy = "remove that mount: NVIDIA's runtime brings what belongs to the driver, the image brings the rest"
        says = f"{', '.join(over)} of the host is mounted over the container's own"
        return Finding("mounts", Verdict.WARN, says, remedy)
    return Finding("mounts", Verdict.OK, "the container has its own libraries")


def code() -> Finding:
    """A transformers that finds PyTorch too old goes without it, and breaks much later."""
    try:
        takes_torch = run_json("-c", _MODEL)
    except ProbeError as error:
        says = f"does not import: {error}"
        return Finding("model's code", Verdict.ERROR, says, _remedy(str(error), "transformers"))
    if not takes_torch:
        says = f"transformers {_found('transformers')} wants a newer PyTorch than {_found('torch')}"
        return Finding("model's code", Verdict.ERROR, says, "pip install 'transformers<5', or a newer PyTorch")
    return Finding("model's code", Verdict.OK, "imports")


def bridge() -> Finding:
    try:
        told = run_json("-c", _BRIDGE)
    except ProbeError as error:
        says = f"cv_bridge does not work with this NumPy: {error}"
        return Finding("cv_bridge", Verdict.ERROR, says, "pip install 'numpy<2', for which ROS built it")
    if not told["there"]:
        return Finding("cv_bridge", Verdict.OK, "is not installed: NumPy and OpenCV read the images")
    if told["reader"] == "cv_bridge":
        return Finding("cv_bridge", Verdict.OK, f"works with NumPy {told['numpy']}")
    says = f"is built for another NumPy than {told['numpy']}: images are read without it, other nodes may crash"
    return Finding("cv_bridge", Verdict.WARN, says, "pip install 'numpy<2', for which ROS built it")


def opencv() -> Finding:
    """Two copies overwrite each other's files, or one hides the other."""
    wheels = sorted({d.name for d in metadata.distributions() if d.name.lower().startswith("opencv-")})
    places = sorted({str(f) for folder in sys.path for name in ("cv2", "cv2.*.so") for f in Path(folder).glob(name)})
    copies = wheels if len(wheels) > len(places) else places
    if len(copies) < 2:
        return Finding("OpenCV", Verdict.OK, (wheels or places or ["comes with ROS"])[0])
    remedy = "keep the first: pip uninstall the others (with apt's python3-opencv there, all of pip's)"
    return Finding("OpenCV", Verdict.WARN, f"is there {len(copies)} times: {', '.join(copies)}", remedy)
