"""A Kosmos-2 + CLIP + LSTM policy that drives a mobile robot over ROS 2."""

import logging
import os

__version__ = "0.1.0"

# Set before torch starts its threads. On a robot the CPUs are shared: threads that spin while they wait take CPU time
# from the threads they wait for, and from camera, DDS and commands (docs/benchmarks.md, "Threads that wait").
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Set before Hugging Face's libraries read it. A robot must not wait for, or depend on, a model hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Also read at import. Advice on optional packages is not for the robot's user; errors are still shown.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# torchao logs at import (by transformers) that its compiled kernels are for other machines.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
