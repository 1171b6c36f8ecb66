"""Compare the keys of documents with the committed ones in document_keys.json.

The file has for each document its `keys` by the path of the mapping that holds them (`components[]` is an item of the
list `components`), `generalised`: patterns of paths whose names are data, with what takes their place (nothing: the
path is left out), and `requests` where the document answers some. Set UPDATE_DOCUMENT_KEYS=1 to rewrite the keys.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

COMMITTED = Path(__file__).with_name("document_keys.json")
_UPDATE = "UPDATE_DOCUMENT_KEYS"
_BELOW = " > "


def check(name: str, *documents: Any) -> None:
    """Compare the keys of these documents together with the committed keys of `name`; or commit them if asked to."""
    committed = _committed()
    entry = committed.setdefault(name, {})
    found = _generalised({path for each in documents for path in _paths(each)}, entry.get("generalised", {}))
    if os.environ.get(_UPDATE) == "1":
        entry["keys"] = _by_parent(found)
        COMMITTED.write_text(_text(committed))
        return
    known = {_BELOW.join(filter(None, (parent, key))) for parent, keys in entry.get("keys", {}).items() for key in keys}
    told = [f"  missing: {path}" for path in sorted(known - found)] + [
        f"  new: {path}" for path in sorted(found - known)
    ]
    lines = "\n".join(told)
    assert found == known, f"the keys of the document {name!r} changed ({_UPDATE}=1 commits the new ones):\n{lines}"


def requests(name: str) -> list[dict[str, Any]]:
    """Return the committed requests of a document."""
    return _committed()[name]["requests"]


def names(given: Iterable[str]) -> dict[str, None]:
    """Return a document that has nothing but these keys."""
    return dict.fromkeys(given)


def _committed() -> dict[str, dict[str, Any]]:
    return json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}


def _paths(document: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each key, at any depth."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            below = f"{path}{_BELOW}{key}" if path else str(key)
            yield below
            yield from _paths(value, below)
    elif isinstance(document, (list, tuple)):
        for item in document:
            yield from _paths(item, f"{path}[]")


def _generalised(paths: set[str], patterns: Mapping[str, str]) -> set[str]:
    for pattern, general in patterns.items():
        paths = {re.sub(f"^(?:{pattern})(?=$|\\[|{_BELOW})", general, path) for path in paths}
    return {path for path in paths if path and not path.startswith(_BELOW)}


def _by_parent(paths: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        parent, _, key = path.rpartition(_BELOW)
        found.setdefault(parent, []).append(key)
    return dict(sorted(found.items()))


def _text(committed: Mapping[str, Any]) -> str:
    """Return the file's text, with each list in one line."""
    text = json.dumps(dict(sorted(committed.items())), indent=2)
    return re.sub(r"\[\n([^]]*)\n *\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"
