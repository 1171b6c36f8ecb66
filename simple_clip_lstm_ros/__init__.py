"""A Kosmos-2 + CLIP + LSTM policy that drives a mobile robot over ROS 2."""

import logging
import os

__version__ = "0.1.0"

# Before torch starts its threads. On a robot the CPUs are shared: threads that spin while they wait for one another
# take them from whom they wait for, and from camera, DDS and commands (docs/benchmarks.md, "Threads that wait").
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Both before Hugging Face's libraries read them. A robot must not wait for, or depend on, a model hub;
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# and advice on packages that one could install besides is not for its user (errors still are).
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# torchao tells, whenever transformers imports it, of compiled kernels that are for other machines.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
