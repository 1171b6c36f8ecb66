"""Episodes in HDF5: the original files are read as they are, ours come back as they went in, nothing else passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from examples import scale_examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

import simple_clip_lstm_ros
from simple_clip_lstm_ros.errors import EpisodeError

h5py = pytest.importorskip("h5py")

from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter, read_episode, read_frames  # noqa: E402

FRAME = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "episode.h5"


def refusal(path):
    with pytest.raises(EpisodeError) as caught:
        read_episode(path)
    reason = str(caught.value)
    assert str(path) in reason
    assert "\n" not in reason
    return reason


# The original's files.


@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_episode_of_the_original_is_read_as_it_was_recorded(index, path, originals, write_original):
    original = originals[index]
    write_original(path, original)
    episode = read_episode(path)
    assert episode.name == original["attrs"]["episode_name"]
    assert episode.total_duration == original["attrs"]["total_duration"]
    assert episode.actions.dtype == np.float32
    assert np.array_equal(episode.actions, np.array(original["actions"], np.float32))
    assert episode.event_types == tuple(original["event_types"])
    assert len(episode) == original["attrs"]["num_frames"]
    unstated = (episode.timestamps, episode.language_instruction, episode.channel_order, episode.action_units)
    assert unstated == (None,) * 4


def test_images_without_a_stated_order_are_bgr(path, originals, write_original):
    bgr = write_original(path, originals[0])
    frames = read_episode(path).frames()
    assert frames.dtype == np.uint8 and frames.flags.c_contiguous
    assert np.array_equal(frames, bgr[..., ::-1])


@pytest.mark.parametrize(("order", "step"), [("rgb", 1), ("bgr", -1), (b"bgr", -1)])
def test_a_stated_order_counts(order, step, path, originals, write_original):
    images = write_original(path, originals[0])
    with h5py.File(path, "a") as file:
        file.attrs["channel_order"] = order
    assert np.array_equal(read_episode(path).frames(), images[..., ::step])


@pytest.mark.parametrize("indices", [[0], [0, 8, 17], [5, 6], range(3, 7), []])
def test_some_frames_are_those_of_all(indices, path, originals, write_original):
    write_original(path, originals[0])
    assert np.array_equal(read_frames(path, indices), read_frames(path)[list(indices)])


def test_no_image_is_read_before_it_is_asked_for(path, originals, write_original):
    """Bytes of images are spoilt: whoever reads them must notice."""
    write_original(path, originals[0])
    with h5py.File(path) as file:
        where = file["images"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[where.byte_offset : where.byte_offset + where.size] = bytes(where.size)
    path.write_bytes(data)
    episode = read_episode(path)
    assert len(episode) == 18
    with pytest.raises(EpisodeError, match=r"episode\.h5 .*incomplete.*copy it again"):
        episode.frames()


def test_strings_of_fixed_length_are_read_too(path, originals, write_original):
    write_original(path, originals[0])
    with h5py.File(path, "a") as file:
        del file["action_event_types"]
        file["action_event_types"] = np.array(originals[0]["event_types"], "S")
        file.attrs["episode_name"] = np.bytes_("name")
    episode = read_episode(path)
    assert episode.event_types == tuple(originals[0]["event_types"])
    assert episode.name == "name"


# What ours hold.

finite = st.floats(-1e6, 1e6, width=32)


@st.composite
def recordings(draw):
    count = draw(st.integers(1, 4))
    shape = (count, draw(st.integers(1, 5)), draw(st.integers(1, 5)), 3)
    frames = draw(nst.arrays(np.uint8, shape))
    actions = draw(nst.arrays(np.float32, (count, 3), elements=finite))
    stamps = draw(st.lists(st.floats(0, 1e9) | st.integers(0, 10**9), min_size=count, max_size=count))
    return frames, actions, stamps


@given(recording=recordings(), instruction=st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8")))
@settings(max_examples=scale_examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_goes_in_comes_out(recording, instruction, tmp_path):
    frames, actions, stamps = recording
    path = tmp_path / "2box_vert_left.h5"
    path.unlink(missing_ok=True)
    with EpisodeWriter(path, language_instruction=instruction) as writer:
        for frame, action, stamp in zip(frames, actions, stamps, strict=True):
            writer.add(frame, action, stamp)
    episode = read_episode(path)
    assert np.array_equal(episode.frames(), frames)
    assert np.array_equal(episode.actions, actions)
    assert np.array_equal(episode.timestamps, np.array(stamps, float) - stamps[0])
    assert episode.total_duration == episode.timestamps[-1]
    assert episode.language_instruction == instruction
    assert (episode.name, episode.channel_order, episode.action_units) == ("2box_vert_left", "rgb", "m/s, m/s, rad/s")


def written(path, count=3, **options):
    with EpisodeWriter(path, **options) as writer:
        for index in range(count):
            writer.add(FRAME + np.uint8(index), (0.1 * (index % 2), 0, 0), 100 + index)
    return path


def test_the_original_s_readers_find_what_they_ask_for(tmp_path):
    with h5py.File(written(tmp_path / "drive_1box_hori_right.h5", 4)) as file:
        assert file["images"].shape == (4, 4, 6, 3)
        assert (file["actions"].dtype, file["actions"].shape) == (np.float32, (4, 3))
        events = ["episode_start", "start_action", "stop_action", "start_action"]
        assert list(file["action_event_types"].asstr()) == events
        stated = {name: file.attrs[name] for name in ("episode_name", "num_frames", "total_duration")}
        assert stated == {"episode_name": "drive_1box_hori_right", "num_frames": 4, "total_duration": 3.0}
        assert (file.attrs["action_chunk_size"], file.attrs["obstacle_layout_type"]) == (8, "hori")


def test_each_frame_is_compressed_by_itself(path):
    """So that one is read without the others, by any program that reads HDF5."""
    written(path)
    with h5py.File(path) as file:
        assert (file["images"].chunks, file["images"].compression) == ((1, 4, 6, 3), "gzip")


# All or nothing.


def test_an_error_on_the_way_leaves_nothing(path, tmp_path):
    with pytest.raises(ZeroDivisionError), EpisodeWriter(path) as writer:
        writer.add(FRAME, (0, 0, 0), 0.0)
        assert list(tmp_path.iterdir()) and not path.exists(), "no reader takes it for complete"
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frame", "action", "stamp", "why"),
    [
        (FRAME.astype(np.float32), (0, 0, 0), 1.0, r"a frame of float32 \[4, 6, 3\], not uint8 \[4, 6, 3\]"),
        (FRAME[:3], (0, 0, 0), 1.0, r"a frame of uint8 \[3, 6, 3\], not uint8 \[4, 6, 3\]"),
        (FRAME[..., 0], (0, 0, 0), 1.0, r"a frame of uint8 \[4, 6\], not"),
        (FRAME, (0, 0), 1.0, "is not three finite velocities"),
        (FRAME, (0, float("nan"), 0), 1.0, "is not three finite velocities"),
        (FRAME, (0, 1e39, 0), 1.0, "is not three finite velocities"),
        (FRAME, (0, 0, 0), float("inf"), "is not three finite velocities"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_and_leaves_nothing(frame, action, stamp, why, path, tmp_path):
    with pytest.raises(EpisodeError, match=why), EpisodeWriter(path) as writer:
        writer.add(FRAME, (0, 0, 0), 0.0)
        writer.add(frame, action, stamp)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("frame", [FRAME[:, :, :2], FRAME[:0], FRAME.ravel()], ids=lambda frame: str(frame.shape))
def test_a_first_frame_must_be_an_image(frame, path, tmp_path):
    with pytest.raises(EpisodeError, match="a frame of uint8"), EpisodeWriter(path) as writer:
        writer.add(frame, (0, 0, 0), 0.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "instruction"), [("episode", "go\0on"), ("episode", "\udc80"), ("\udc80", None)])
def test_what_hdf5_cannot_keep_is_refused_before_anything_is_recorded(name, instruction, tmp_path):
    with pytest.raises(EpisodeError, match="cannot be stored as text"):
        EpisodeWriter(tmp_path / f"{name}.h5", language_instruction=instruction)


def test_an_episode_without_frames_is_not_written(path, tmp_path):
    with pytest.raises(EpisodeError, match="no frame was received"), EpisodeWriter(path):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays_as_it_is(path):
    path.write_text("mine")
    with pytest.raises(EpisodeError, match="exists; remove it"), EpisodeWriter(path):
        pass
    assert path.read_text() == "mine"


def test_what_another_recording_writes_stays_as_it_is(path, tmp_path):
    with EpisodeWriter(path) as writer:
        writer.add(FRAME, (0, 0, 0), 0.0)
        with pytest.raises(EpisodeError, match="another recording is running"), EpisodeWriter(path):
            pass
        writer.add(FRAME, (0, 0, 0), 1.0)
    assert len(read_episode(path)) == 2


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "folder" / "episode.h5"
    with pytest.raises(EpisodeError, match=r"folder .*create it"), EpisodeWriter(path):
        pass


# Each makes writing fail as a disk does: one when files shall grow, one as soon as anything is written.
FULL = {
    "File too large": "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))",
    "No space left on device": "os.dup2(os.open('/dev/full', os.O_RDWR), writer._raw_file.fileno())",
}


@pytest.mark.parametrize("why", FULL)
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(why, path, tmp_path):
    """In a process of its own: HDF5 crashes where it meets with such an error itself."""
    program = f"""
import os, resource, signal
import numpy as np
from simple_clip_lstm_ros.data.hdf5 import EpisodeWriter
from simple_clip_lstm_ros.errors import EpisodeError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
frames = np.random.default_rng(0).integers(0, 256, (20, 100, 100, 3), np.uint8)
try:
    with EpisodeWriter({str(path)!r}) as writer:
        {FULL[why]}
        for frame in frames:
            writer.add(frame, (0, 0, 0), 0.0)
except EpisodeError as error:
    print(error, len(writer) < 10)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(simple_clip_lstm_ros.__file__).parents[1])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == (f"{path} cannot be written: {why} True\n", "")
    assert not list(tmp_path.iterdir())


# What is refused.


def without(name):
    return lambda file: file.__delitem__(name)


def changed(name, data, **options):
    def change(file):
        del file[name]
        file.create_dataset(name, data=data, **options)

    return change


def added(name, data, **options):
    return lambda file: file.create_dataset(name, data=data, **options)


def stated(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def unstated(name):
    return lambda file: file.attrs.__delitem__(name)


def spoilt(value):
    def change(file):
        file["actions"][7, 1] = value

    return change


IMAGES = np.zeros((18, 4, 6, 3), np.uint8)
ACTIONS = np.zeros((18, 3), np.float32)
WRONG = {
    "no images": (without("images"), "missing dataset 'images'"),
    "no actions": (without("actions"), "missing dataset 'actions'"),
    "no event types": (without("action_event_types"), "missing dataset 'action_event_types'"),
    "a group": (lambda file: (without("actions")(file), file.create_group("actions")), "missing dataset 'actions'"),
    "float images": (changed("images", IMAGES / 255), "images are float64 [18, 4, 6, 3] instead of uint8"),
    "grey images": (changed("images", IMAGES[..., 0]), "images are uint8 [18, 4, 6] instead of"),
    "images with alpha": (changed("images", np.zeros((18, 4, 6, 4), np.uint8)), "images are uint8 [18, 4, 6, 4]"),
    "channels first": (changed("images", np.moveaxis(IMAGES, -1, 1)), "images are uint8 [18, 3, 4, 6] instead of"),
    "empty images": (changed("images", IMAGES[:, :0]), "images are uint8 [18, 0, 6, 3] instead of"),
    "no space": (changed("images", h5py.Empty("uint8")), "images are uint8 [] instead of"),
    "fewer actions": (changed("actions", ACTIONS[:17]), "actions are float32 [17, 3] where float32 [18, 3] belong"),
    "two axes": (changed("actions", ACTIONS[:, :2]), "actions are float32 [18, 2] where"),
    "integers": (changed("actions", ACTIONS.astype(int)), "actions are int64 [18, 3] where"),
    "NaN": (spoilt(np.nan), "actions of frame 7 are not finite"),
    "infinity": (spoilt(-np.inf), "actions of frame 7 are not finite"),
    "too large": (changed("actions", np.full((18, 3), 1e39)), "actions of frame 0 are not finite"),
    "fewer types": (changed("action_event_types", ["stop_action"] * 17), "action_event_types are object [17], not"),
    "numbers as types": (changed("action_event_types", np.zeros(18)), "action_event_types are float64 [18], not"),
    "types not UTF-8": (changed("action_event_types", np.array([b"\xff"] * 18, "S")), "is damaged or incomplete"),
    "fewer stamps": (added("timestamps", np.arange(17.0)), "timestamps are float64 [17] where float32 [18] belong"),
    "NaN as stamp": (added("timestamps", np.full(18, np.nan)), "timestamps of frame 0 are not finite"),
    "two instructions": (added("language_instruction", ["a", "b"]), "language_instruction is object [2], not one"),
    "a number": (added("language_instruction", 5.0), "language_instruction is float64 [], not one string"),
    "another order": (stated("channel_order", "gbr"), "channel_order 'gbr' is not one of rgb, bgr"),
    "an order of numbers": (stated("channel_order", 3), "the attribute channel_order is"),
    "units of numbers": (stated("action_units", 1.0), "the attribute action_units is"),
    "no name": (unstated("episode_name"), "the attribute episode_name is None"),
    "no duration": (unstated("total_duration"), "total_duration is None, not seconds"),
    "NaN as duration": (stated("total_duration", float("nan")), "total_duration is"),
    "another count": (stated("num_frames", 19), "says 19 frames (num_frames) and holds 18"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_whole_episode_is_refused_with_the_reason(case, path, originals, write_original):
    change, why = WRONG[case]
    write_original(path, originals[0])
    read_episode(path)
    with h5py.File(path, "a") as file:
        change(file)
    assert why in refusal(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is not an HDF5 file"),
        (b"hello\n" * 1000, "is not an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
    ],
    ids=["missing", "empty", "text", "pointer"],
)
def test_what_is_no_hdf5_is_refused(content, why, path):
    if content is not None:
        path.write_bytes(content)
    assert why in refusal(path)


def test_a_folder_is_refused(tmp_path):
    assert "cannot be read: Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(kept, path, originals, write_original):
    write_original(path, originals[0])
    os.truncate(path, int(path.stat().st_size * kept))
    assert "is damaged or incomplete" in refusal(path)
