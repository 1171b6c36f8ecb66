"""The documents tell the truth: what is made from the source is up to date, and each command runs, or says why not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest
from warm_python import WarmPython

from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint
from simple_clip_lstm_ros.policy.sample_images import sample_crops

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CLI = ["-m", "simple_clip_lstm_ros.cli.main"]
COMMAND = r"(simple_clip_lstm|ros2|python3?|make|docker|pip|hf|sudo|ssh|rsync|rviz2) "
# What a machine like this one does not have.
NEEDS = {"a robot", "a Jetson", "Docker", "a network", "another machine", "a ROS 2 distribution"}


class Block(NamedTuple):
    """Lines of a shell, and the comment above them: why they are not run as they stand."""

    marker: str
    lines: str


def blocks(document: Path) -> list[Block]:
    found = re.findall(r"(?:<!-- ([^\n]*) -->\n)?```sh\n(.*?)\n```", document.read_text(), re.DOTALL)
    return [Block(*each) for each in found]


def made(script: str) -> str:
    return subprocess.check_output([sys.executable, ROOT / "scripts" / script], text=True, cwd=ROOT)


def test_the_tables_of_parameters_are_made_from_the_declarations() -> None:
    pytest.importorskip("rclpy")
    tables = made("write_parameters_doc.py")
    assert "guard_timeout" in tables and tables in (ROOT / "docs" / "parameters.md").read_text()


@pytest.fixture(scope="module")
def page_of_errors() -> str:
    """`make docs` writes it before it builds the site; it is not committed."""
    return made("write_errors_doc.py")


def test_the_page_of_errors_is_made_from_the_source(page_of_errors: str) -> None:
    assert "is a bare pickle and not a torch.save file" in page_of_errors
    assert page_of_errors.count("\n## ") > 20 and page_of_errors.count("\n- `") > 200
    assert "scripts/write_errors_doc.py > docs/errors.md" in (ROOT / "Makefile").read_text()


def test_the_pip_line_names_what_rosdep_does_not_bring(setup: dict[str, Any]) -> None:
    asked = [*setup["install_requires"], *setup["extras_require"]["all"]]
    names = {re.split("[<>=]", item)[0] for item in asked}
    # What apt brings: python3-numpy, python3-opencv, ... Of Ubuntu 22.04 rich and shapely are too old to be used.
    apt = {"aiohttp", "h5py", "matplotlib", "networkx", "numpy", "opencv-python-headless", "packaging", "pillow"}
    apt |= {"prompt_toolkit", "psutil", "PyYAML"}
    lines = (ROOT / "docs" / "robot.md").read_text().splitlines()
    pip = next(line for line in lines if "pip install" in line).split()[4:]
    assert {re.split("[<>=]", word.strip('"'))[0] for word in pip} == names - apt - {"torch"}
    assert {word.strip('"') for word in pip if ">=" in word} <= {*asked}
    rosdep = next(line for line in lines if line.startswith("rosdep install"))
    skipped = re.findall(r"python3-[a-z-]+", rosdep)
    assert all(f"<exec_depend>{key}</exec_depend>" in (ROOT / "package.xml").read_text() for key in skipped)


def test_every_make_target_and_verb_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = {path.stem for path in (ROOT / "simple_clip_lstm_ros" / "cli").glob("*.py")}
    for document in DOCUMENTS:
        text = "\n".join(block.lines for block in blocks(document))
        assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= targets, document
        assert set(re.findall(r"^simple_clip_lstm ([a-z]+)", text, re.MULTILINE)) <= verbs, document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_stand_where_they_are_looked_for_and_say_why_they_are_not_run(document: Path) -> None:
    assert not re.findall(rf"^    {COMMAND}.*", document.read_text(), re.MULTILINE), "in a fence: ```sh"
    for marker, lines in blocks(document):
        if marker.startswith("needs "):
            assert marker.removeprefix("needs ") in NEEDS
        elif marker.startswith("tested by "):
            paths = re.findall(r"test/[\w/]+\.py", marker)
            assert paths and ": " in marker and all((ROOT / path).is_file() for path in paths), marker
        elif not marker.startswith("takes "):
            assert re.match(r"simple_clip_lstm ", lines), f"{lines}: mark it, or have it tested here"


def test_every_document_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    assert {path.name for path in (ROOT / "docs").glob("*.md")} | {"errors.md"} == set(
        re.findall(r"([\w.]+\.md)$", menu, re.MULTILINE)
    )


@pytest.fixture
def source(page_of_errors: str, tmp_path: Path) -> Path:
    """A copy of what the site is built from."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "docs", source / "docs")
    shutil.copy(ROOT / "mkdocs.yml", source)
    (source / "docs" / "errors.md").write_text(page_of_errors)
    return source


def build(source: Path) -> subprocess.CompletedProcess[str]:
    # Not --quiet: MkDocs counts no warning then, and builds whatever it finds.
    words = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)


def test_the_documents_build_without_a_warning(source: Path) -> None:
    """Links to pages, headings and pictures among them."""
    built = build(source)
    assert built.returncode == 0, built.stderr
    assert (source / "site" / "safety.html").is_file() and (source / "site" / "errors.html").is_file()


def test_links_that_lead_nowhere_are_not_built(source: Path) -> None:
    links = ("nowhere.md", "docs/driving.md", "safety.md#nowhere", "nowhere.png")
    with (source / "docs" / "faq.md").open("a") as page:
        page.writelines(f"\n[there]({link})\n" for link in links)
    built = build(source)
    assert built.returncode == 1
    missed = [link for link in links if f"link '{link}'" not in built.stderr]
    assert not missed, built.stderr


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_links_of_the_pages_that_are_not_in_the_site_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    assert not [target for target in targets if "://" not in target and not (document.parent / target).exists()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A new folder with what the documents take for granted: a checkpoint, an image, a recipe."""
    model = tmp_path_factory.mktemp("model") / "best_simple_clip_lstm_model.pth"
    write_random_checkpoint("tiny", model)

    def make() -> Path:
        folder = tmp_path_factory.mktemp("reader")
        for file in (model, Path(f"{model}.processors")):
            (folder / file.name).symlink_to(file)
        shutil.copytree(ROOT / "docs", folder / "docs")  # some commands make its pictures
        cv2.imwrite(str(folder / "photo.jpg"), next(sample_crops(1)))
        (folder / "mine.yaml").write_text("image_normalization: imagenet\n")
        return folder

    return make


LONG = sorted(
    {
        line
        for document in DOCUMENTS
        for marker, lines in blocks(document)
        if marker.startswith("takes ")
        for line in filter(None, lines.splitlines())
    }
)


def options(python: WarmPython, *words: str) -> set[str]:
    """Return those that the help of a program names, with those of a command whose options it takes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    asked = python.start([*words, "--help"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    help_text, _ = asked.communicate()
    assert asked.returncode == 0, words
    other = re.search(r"Takes options of `simple_clip_lstm (\w+)`", help_text)
    return set(re.findall(r"--[a-z-]+", help_text)) | (options(python, *CLI, other[1]) if other else set())


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [pytest.param(line, marks=[pytest.mark.int8] if "int8_schemes" in line else []) for line in LONG]
)
def test_what_takes_too_long_to_run_knows_its_options(warm_python: WarmPython, line: str) -> None:
    program, what, *words = line.split()
    command = [str(ROOT / what)] if program == "python" else [*CLI, what]
    assert {word for word in words if word.startswith("--")} <= options(warm_python, *command)


def script(document: Path) -> str:
    """What a reader of it types, without the comments."""
    typed = [re.sub(r" +#.*", "", block.lines, flags=re.MULTILINE) for block in blocks(document) if not block.marker]
    return "\n".join(typed)


# A translation says the same.
TO_RUN = {lines: document.name for document in DOCUMENTS if (lines := script(document))}


@pytest.mark.full
@pytest.mark.ros
@pytest.mark.parametrize("lines", TO_RUN, ids=TO_RUN.get)
def test_the_commands_of_a_document_run_one_after_the_other(lines: str, folder: Callable[[], Path]) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    words = ["timeout", "-s", "KILL", "300", "bash", "-ec", lines]
    ran = subprocess.run(words, cwd=folder(), env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
