"""The exceptions that are shown to the user, and helpers to make one clean line of a text."""


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
