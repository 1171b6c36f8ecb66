"""Errors for the user, in one line that says what to do; and the optional libraries that may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SimpleClipLstmError(Exception):
    """Base of all errors for the user: one complete line, no traceback needed."""


class CheckpointError(SimpleClipLstmError):
    """A checkpoint file that cannot be read, is refused, or does not fit the model."""


class ConfigError(SimpleClipLstmError):
    """A setting (PolicyConfig, parameter, option) that is unknown, contradictory or out of range."""


class ProcessorsError(SimpleClipLstmError):
    """Tokenizers that are missing or belong to another model."""


class DeviceError(SimpleClipLstmError):
    """A device or a precision that this machine does not have."""


class MemoryBudgetError(SimpleClipLstmError):
    """A model that would not fit into the memory there is."""


class InputError(SimpleClipLstmError):
    """An image or an instruction that cannot be used."""


class EpisodeError(SimpleClipLstmError):
    """An episode, or a bag to convert, that cannot be read or written, or is refused."""


class MissingLibraryError(SimpleClipLstmError):
    """An optional library that is not installed, or does not load."""


class Cancelled(SimpleClipLstmError):
    """A long operation that stopped on request."""


def is_text(text: str) -> bool:
    """Return whether `text` can be sent and stored as UTF-8.

    A NUL or half of a surrogate pair cannot.
    """
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def printable(text: str) -> str:
    """Return `text` on one line, with control characters escaped.

    Names in a file are untrusted and could steer a terminal.
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message; its type's name if empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
def name_missing_extra(user: str) -> Iterator[None]:
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
