"""Compare a file's tensors with those of the model: none may be missing, left over or of another shape."""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]


def diff_shapes(needed: Shapes, found: Shapes) -> str:
    """Return an empty string for equal shapes, else one line that describes the differences.

    The line has the number of differences per component, the first few, and the probable cause.
    """
    wrong = sorted(name for name in needed if name in found and tuple(found[name]) != tuple(needed[name]))
    kinds = {
        "missing": sorted(set(needed) - set(found)),
        "unexpected": sorted(set(found) - set(needed)),
        "of the wrong shape": wrong,
    }
    if not any(kinds.values()):
        return ""
    parts = []
    for component in sorted({name.partition(".")[0] for names in kinds.values() for name in names}):
        counted = [
            f"{len(own)} {kind} ({_format_first(own, needed, found)})"
            for kind, names in kinds.items()
            if (own := [name for name in names if name.partition(".")[0] == component])
        ]
        parts.append(f"{component}: {', '.join(counted)}")
    return "; ".join(parts) + f". {_probable_cause(kinds)}"


def _format_first(names: list[str], needed: Shapes, found: Shapes) -> str:
    shown = [
        f"{name} {list(found[name])} instead of {list(needed[name])}" if name in needed and name in found else name
        for name in names[:2]
    ]
    return ", ".join(shown) + (", ..." if len(names) > 2 else "")


def _probable_cause(kinds: Mapping[str, list[str]]) -> str:
    if kinds["of the wrong shape"]:
        return "Probably a config that belongs to another checkpoint, or a file that was edited"
    if kinds["missing"] and kinds["unexpected"]:
        return "Probably a checkpoint of another model, or one whose modules were renamed"
    if kinds["missing"]:
        return "Probably a file saved from an incomplete model, or one that was edited"
    return "Probably a model with parts that this one does not have"
