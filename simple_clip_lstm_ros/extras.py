"""The optional libraries, the extras of setup.py that bring them, and the one line that says which is missing.

Modules import an optional library as any other. What starts them (a subcommand, a node) does so in `naming_extras`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from simple_clip_lstm_ros.errors import MissingLibraryError, first_line

_PACKAGE = "simple_clip_lstm_ros"
# Module -> the extras that bring it. test/cli/test_extras.py compares them with setup.py.
EXTRAS = {
    "prompt_toolkit": ("session",),
    "networkx": ("sim",),
    "shapely": ("sim",),
    "aiohttp": ("dashboard",),
    "h5py": ("data", "train"),
    "rosbags": ("data",),
    "matplotlib": ("plots",),
    "accelerate": ("train",),
    "torchao": ("int8",),
}


def describe_missing(user: str, module: str, why: str = "") -> str:
    """Return the line that says which extra `user`, a command or a feature, needs for the optional `module`."""
    extras = EXTRAS[module]
    # An extra that has the subcommand's own name brings all that this one needs.
    extra = next((each for each in extras if each in user.split()), extras[0])
    return f"{user} needs {module}{why}: pip install '{_PACKAGE}[{extra}]'"


@contextmanager
def naming_extras(user: str) -> Iterator[None]:
    """Raise MissingLibraryError in place of the ImportError of an optional library; other errors pass unchanged."""
    try:
        yield
    except ImportError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        # A library that is there and does not load says itself what is wrong.
        why = "" if isinstance(error, ModuleNotFoundError) else f" ({first_line(error)})"
        raise MissingLibraryError(describe_missing(user, module, why)) from None
