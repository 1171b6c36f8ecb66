"""What can go wrong at the borders of the package, told to the user in one line that says what to do."""


class SimpleClipLstmError(Exception):
    """Base of every error that is the user's to read: the message is one line, complete, and needs no traceback."""


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
    """A recorded episode, or a bag to make some of, that cannot be read, is refused, or cannot be written."""


class Cancelled(SimpleClipLstmError):
    """A long operation was asked to stop and did."""


def is_text(text: str) -> bool:
    """Return whether `text` can be sent and stored as UTF-8: it has no NUL and no half of a surrogate pair."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def printable(text: str) -> str:
    """On one line, and without what would steer a terminal: names in a file are of anybody's choosing."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """What a foreign exception says, cut to the one line that a user reads; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
