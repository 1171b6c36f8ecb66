"""The README tells the truth about parameters and dependencies."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_tables_of_parameters_are_made_from_the_declarations():
    pytest.importorskip("rclpy")
    made = subprocess.run([sys.executable, ROOT / "scripts" / "parameters"], capture_output=True, text=True, check=True)
    assert "guard_timeout" in made.stdout and made.stdout in README


def test_pip_line_names_what_has_no_rosdep_key():
    setup = ast.parse((ROOT / "setup.py").read_text())
    required = next(k.value for k in ast.walk(setup) if isinstance(k, ast.keyword) and k.arg == "install_requires")
    names = {re.split("[<>=]", item)[0] for item in ast.literal_eval(required)}
    # python3-numpy, python3-opencv, ... in package.xml
    keyed = {
        "aiohttp",
        "numpy",
        "opencv-python-headless",
        "psutil",
        "PyYAML",
        "scipy",
        "networkx",
        "matplotlib",
        "packaging",
        "pillow",
    }
    line = next(line for line in README.splitlines() if "pip install" in line)
    named = {re.split("[<>=]", word.strip('"'))[0] for word in line.partition("#")[0].split()[4:]}
    assert named == names - keyed - {"torch"}


def test_every_make_target_and_verb_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
    verbs = set(re.findall(r"^    simple_clip_lstm ([a-z]+)", README, re.MULTILINE))
    assert verbs and verbs <= {path.stem for path in (ROOT / "simple_clip_lstm_ros" / "cli").glob("*.py")}


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_every_relative_link_and_picture_is_there(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert not missing
