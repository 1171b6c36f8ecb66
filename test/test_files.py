"""The file below HDF5: no error of writing reaches HDF5, and none is lost."""

from __future__ import annotations

import os

import pytest

from simple_clip_lstm_ros.files import ErrorKeepingFile


@pytest.fixture
def full(tmp_path):
    """On a device that takes no byte and no length."""
    with ErrorKeepingFile(tmp_path / "file") as sink:
        os.dup2(os.open("/dev/full", os.O_RDWR), sink.fileno())
        yield sink


def test_what_is_written_is_in_the_file(tmp_path):
    with ErrorKeepingFile(tmp_path / "file") as sink:
        assert sink.write(b"abcdef") == 6
        assert sink.truncate(4) == 4
        sink.raise_error()
    assert (tmp_path / "file").read_bytes() == b"abcd"


@pytest.mark.parametrize(
    ("do", "why"), [(lambda sink: sink.write(b"abc"), "No space"), (lambda sink: sink.truncate(3), "Invalid")]
)
def test_an_error_is_kept_until_it_is_asked_for(do, why, full):
    assert do(full) == 3
    with pytest.raises(OSError, match=why):
        full.raise_error()


def test_the_first_error_counts(full):
    full.write(b"abc")
    full.truncate(3)
    with pytest.raises(OSError, match="No space"):
        full.raise_error()


def test_a_file_that_is_there_stays(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        ErrorKeepingFile(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
