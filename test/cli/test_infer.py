"""`infer`: one action for each frame of an image, a folder or a video, the state carried along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.cli.frame_source import read_frames
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.policy.sample_images import sample_crops

Cli = Callable[..., Any]
AXES = ("linear.x", "angular.z")


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return list(sample_crops(5))


@pytest.fixture
def folder(tmp_path: Path, frames: list[np.ndarray]) -> Path:
    """Five images, written in another order than that of their names, among files that are none."""
    (tmp_path / "frames").mkdir()
    for index in (3, 0, 4, 1, 2):
        cv2.imwrite(str(tmp_path / "frames" / f"frame_{index:03}.png"), frames[index][:, :, ::-1])
    (tmp_path / "frames" / "notes.txt").write_text("not an image")
    return tmp_path / "frames"


def _video(path: Path, codec: str, frames: list[np.ndarray]) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10.0, (width, height))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV cannot write {codec}")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    writer.release()
    return path


def _steps(tiny: Path, frames: list[np.ndarray], instruction: str) -> np.ndarray:
    policy = load_policy(tiny)
    return np.array([policy.step(frame, instruction).values for frame in frames])


def _actions(out: str) -> np.ndarray:
    return np.array([[frame["action"][axis] for axis in AXES] for frame in json.loads(out)["frames"]])


def test_a_folder_gives_one_action_a_frame_in_the_order_of_names_with_the_state_carried(
    cli: Cli, tiny: Path, folder: Path, frames: list[np.ndarray]
) -> None:
    outcome = cli("infer", tiny, "--image", folder, "--instruction", "go to the door", "--json")
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert [frame["frame"] for frame in found["frames"]] == [f"frame_{index:03}.png" for index in range(5)]
    assert [frame["state_step"] for frame in found["frames"]] == [1, 2, 3, 4, 5]
    assert (found["instruction"], found["untrained"]) == ("go to the door", True)
    np.testing.assert_allclose(_actions(outcome.out), _steps(tiny, frames, "go to the door"), atol=1e-5)


def test_a_single_image_gives_a_single_action(cli: Cli, tiny: Path, folder: Path, frames: list[np.ndarray]) -> None:
    outcome = cli("infer", tiny, "--image", folder / "frame_003.png", "--json")
    instruction = json.loads(outcome.out)["instruction"]
    np.testing.assert_allclose(_actions(outcome.out), _steps(tiny, frames[3:4], instruction), atol=1e-5)


@pytest.mark.parametrize(("name", "codec"), [("drive.mp4", "mp4v"), ("drive.avi", "MJPG")])
def test_a_video_gives_one_action_a_frame(
    cli: Cli, tiny: Path, tmp_path: Path, frames: list[np.ndarray], name: str, codec: str
) -> None:
    path = _video(tmp_path / name, codec, frames)
    outcome = cli("infer", tiny, "--image", path, "--json")
    assert outcome.code == 0
    assert [frame["state_step"] for frame in json.loads(outcome.out)["frames"]] == [1, 2, 3, 4, 5]
    # Compression changes the pixels a little; frames of another order or colour would be far off.
    exact = _steps(tiny, frames, json.loads(outcome.out)["instruction"])
    assert np.abs(_actions(outcome.out) - exact).max() < 0.5 * np.abs(exact - exact[::-1]).max()


def test_the_text_has_a_line_for_each_frame(cli: Cli, tiny: Path, folder: Path) -> None:
    outcome = cli("infer", tiny, "--image", folder)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines] == [f"frame_{index:03}.png" for index in range(5)]
    assert all(part in lines[4] for part in (*AXES, "ms", "step 5"))


def test_untrained_weights_are_told_on_stderr_alone(cli: Cli, tiny: Path, photograph: Path) -> None:
    outcome = cli("infer", tiny, "--image", photograph, "--json")
    assert outcome.code == 0
    assert "untrained" in outcome.said
    assert outcome.said.count("\n") == 1
    assert len(json.loads(outcome.out)["frames"]) == 1


def test_another_instruction_gives_another_action(cli: Cli, tiny: Path, photograph: Path) -> None:
    first, second = (
        cli("infer", tiny, "--image", photograph, "--instruction", text, "--json") for text in ("go here", "turn left")
    )
    assert not np.allclose(_actions(first.out), _actions(second.out), atol=1e-6)


def test_settings_precision_and_processors_are_passed_on(
    cli: Cli, tiny: Path, photograph: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text("action_axes: [linear.y, angular.z]\naction_offset: [100.0, 0.0]\n")
    alone = tmp_path / "alone.pth"
    alone.symlink_to(tiny)
    outcome = cli(
        "infer", alone, "--image", photograph, "--json", "--config", tmp_path / "own.yaml",
        "--precision", "bf16", "--device", "cpu", "--processors", f"{tiny}.processors",
    )  # fmt: skip
    (frame,) = json.loads(outcome.out)["frames"]
    assert frame["action"]["linear.y"] > 90
    plain = cli("infer", alone, "--image", photograph, "--json", "--processors", f"{tiny}.processors")
    assert json.loads(plain.out)["frames"][0]["action"]["angular.z"] != frame["action"]["angular.z"]


# --- reading --------------------------------------------------------------------------------------------------


def test_frames_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 255
    cv2.imwrite(str(tmp_path / "red.png"), red[:, :, ::-1])
    for path in (
        tmp_path / "red.png",
        _video(tmp_path / "red.avi", "MJPG", [np.kron(red, np.ones((8, 8, 1), np.uint8))]),
    ):
        ((_, frame),) = read_frames(path)
        assert frame.dtype == np.uint8
        assert frame[4, 4, 0] > 240
        assert frame[4, 4, 2] < 20


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 4)], ids=["grey", "with transparency"])
def test_every_image_becomes_three_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), np.full(shape, 200, np.uint8))
    ((_, frame),) = read_frames(tmp_path / "image.png")
    assert frame.shape == (9, 7, 3)


def test_an_upper_case_suffix_and_a_wrong_one_do_not_matter(tmp_path: Path, photograph: Path) -> None:
    for name in ("IMAGE.PNG", "image.jpg", "image"):
        (tmp_path / name).write_bytes(photograph.read_bytes())
    assert len(list(read_frames(tmp_path))) == 3


@pytest.mark.parametrize("held", [None, "", "text"], ids=["nothing", "an empty file", "a text"])
def test_a_folder_without_images_is_refused(tmp_path: Path, held: str | None) -> None:
    if held is not None:
        (tmp_path / "notes.png").write_text(held)
    with pytest.raises(InputError, match="holds no image"):
        read_frames(tmp_path)


@pytest.mark.parametrize(
    "held", [b"", b"some text\n", b"\x00\x00\x00\x20ftypisom" + bytes(40)], ids=["empty", "text", "mp4"]
)
@pytest.mark.parametrize("name", ["drive.mp4", "image.png"])
def test_what_is_neither_image_nor_video_is_refused_in_one_line(
    cli: Cli, tiny: Path, tmp_path: Path, name: str, held: bytes
) -> None:
    (tmp_path / name).write_bytes(held)
    outcome = cli("infer", tiny, "--image", tmp_path / name)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err


def test_a_damaged_image_in_a_folder_is_named(cli: Cli, tiny: Path, folder: Path) -> None:
    whole = (folder / "frame_001.png").read_bytes()
    (folder / "frame_001.png").write_bytes(whole[:40])
    outcome = cli("infer", tiny, "--image", folder)
    assert outcome.code == 1
    assert "frame_001.png is not an image" in outcome.err.splitlines()[-1]
