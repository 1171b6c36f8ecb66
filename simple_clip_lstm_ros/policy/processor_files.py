"""Find and load the tokenizer files of a checkpoint; they must not contain code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simple_clip_lstm_ros.errors import ProcessorsError, first_line

HOW_TO_GET = (
    "put microsoft/kosmos-2-patch14-224 and openai/clip-vit-base-patch32 (tokenizer and processor files) into one "
    "folder with `hf download` on a machine with network, and name that folder as processors"
)
_CODE_SUFFIXES = (".py", ".pyc", ".pyo", ".so")


def find_processors(checkpoint: Path, folder: str | Path | None = None) -> Path:
    """Return the processors folder: `folder`, else the one inside or next to the checkpoint.

    Raise ProcessorsError if there is none.
    """
    defaults = (checkpoint / "processors", Path(f"{checkpoint}.processors"), checkpoint.parent / "processors")
    candidates = (Path(folder),) if folder else defaults
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = ", ".join(str(candidate) for candidate in candidates)
    raise ProcessorsError(f"no processors folder at {tried}; {HOW_TO_GET}")


def load_processor(kind: Any, folder: Path, encoder: str) -> Any:
    """Load the processor or tokenizer of an encoder from its sub-folder, `kosmos*` or `clip*`, without running code.

    `kind` is the class of transformers to load it with. Raise ProcessorsError if there is none or it does not load.
    """
    found = sorted(path for path in folder.glob(f"{encoder}*") if path.is_dir())
    if not found:
        raise ProcessorsError(f"{folder} has no sub-folder {encoder}*; {HOW_TO_GET}")
    check_no_code(found[0])
    try:
        return kind.from_pretrained(found[0], local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises a bare Exception for a broken file
        reason = first_line(error)
        raise ProcessorsError(
            f"the {encoder} processor in {found[0]} does not load ({reason}); {HOW_TO_GET}"
        ) from error


def check_no_code(folder: Path) -> None:
    """Raise ProcessorsError if a file in `folder` is code or makes Hugging Face load code (`auto_map`)."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in _CODE_SUFFIXES:
            raise ProcessorsError(f"{file} is code, which processors must not contain; remove it")
        if file.name.endswith("config.json") and _names_code(file):
            raise ProcessorsError(f"{file} loads custom code (auto_map); use the original model's processors")


def _names_code(file: Path) -> bool:
    try:
        return "auto_map" in json.loads(file.read_text())
    except (OSError, ValueError, TypeError, RecursionError):  # loading such a file fails later, with the reason
        return False
