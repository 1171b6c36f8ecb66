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

from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint
from simple_clip_lstm_ros.policy.sample_images import sample_crops

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CLI = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main"]
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
    tables = made("parameters")
    assert "guard_timeout" in tables and tables in (ROOT / "docs" / "parameters.md").read_text()


def test_the_page_of_errors_is_made_from_the_source() -> None:
    page = made("errors")
    assert "is a bare pickle and not a torch.save file" in page
    assert page == (ROOT / "docs" / "errors.md").read_text(), "scripts/errors > docs/errors.md"


def test_the_pip_line_names_what_has_no_rosdep_key(setup: dict[str, Any]) -> None:
    names = {re.split("[<>=]", item)[0] for item in setup["install_requires"]}
    # python3-numpy, python3-opencv, ... in package.xml
    keyed = {"aiohttp", "matplotlib", "networkx", "numpy", "opencv-python-headless", "packaging", "pillow", "psutil"}
    keyed |= {"PyYAML", "scipy"}
    text = (ROOT / "docs" / "robot.md").read_text()
    line = next(line for line in text.splitlines() if "pip install" in line)
    assert {re.split("[<>=]", word.strip('"'))[0] for word in line.split()[4:]} == names - keyed - {"torch"}


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
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == set(re.findall(r"([\w.]+\.md)$", menu, re.MULTILINE))


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Not --quiet: MkDocs counts no warning then, and builds whatever it finds.
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)


def test_the_documents_build_without_a_warning(tmp_path: Path) -> None:
    """Links to pages, headings and pictures among them."""
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "safety.html").is_file()


@pytest.mark.parametrize("link", ["nowhere.md", "docs/driving.md", "safety.md#nowhere", "nowhere.png"])
def test_a_link_that_leads_nowhere_is_not_built(link: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "faq.md").open("a") as page:
        page.write(f"\n[there]({link})\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 1 and link.split("#")[-1] in built.stderr


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


def options(*command: str) -> set[str]:
    """Those that its help names, and of a verb whose options it takes, too."""
    told = subprocess.check_output([*command, "--help"], cwd=ROOT, text=True)
    verb = re.search(r"Takes options of `simple_clip_lstm (\w+)`", told)
    return set(re.findall(r"--[a-z-]+", told)) | (options(*CLI, verb[1]) if verb else set())


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [pytest.param(line, marks=[pytest.mark.int8] if "int8_schemes" in line else []) for line in LONG]
)
def test_what_takes_too_long_to_run_knows_its_options(line: str) -> None:
    program, what, *words = line.split()
    command = [sys.executable, what] if program == "python" else [*CLI, what]
    assert {word for word in words if word.startswith("--")} <= options(*command)


def script(document: Path) -> str:
    """What a reader of it types, without the comments."""
    typed = [re.sub(r" +#.*", "", block.lines, flags=re.MULTILINE) for block in blocks(document) if not block.marker]
    return "\n".join(typed)


# A translation says the same.
TO_RUN = {lines: document.name for document in DOCUMENTS if (lines := script(document))}


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.parametrize("lines", TO_RUN, ids=TO_RUN.get)
def test_the_commands_of_a_document_run_one_after_the_other(lines: str, folder: Callable[[], Path]) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    words = ["timeout", "-s", "KILL", "300", "bash", "-ec", lines]
    ran = subprocess.run(words, cwd=folder(), env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
