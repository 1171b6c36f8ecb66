"""A Kosmos-2 + CLIP + LSTM policy that drives a mobile robot over ROS 2."""

import logging
import os

__version__ = "0.1.0"

# Both before Hugging Face's libraries read them. A robot must not wait for, or depend on, a model hub;
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# and advice on packages that one could install besides is not for its user (errors still are).
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# torchao tells, whenever transformers imports it, of compiled kernels that are for other machines.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
