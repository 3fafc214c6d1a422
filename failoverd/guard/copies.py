"""Where restore points of ordinary files lie in a volume: `.failoverd/files/FILE/EPOCH-SERIAL-SITE.copy` and `.json`.

What makes a point one is what it is for those of databases (`shelf`): its manifest is written last and removed first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from failoverd.core.filed import FILES_SCHEMA, FilePoint, Trouble
from failoverd.guard import shelf
from failoverd.guard.files import hashed, quoted, shown, unquoted

_POINT: TypeAdapter[FilePoint] = TypeAdapter(FilePoint)


@dataclass(frozen=True, slots=True)
class Lying:
    """A point of a file where it lies."""

    point: FilePoint
    file: Path
    manifest: Path


def folder(root: Path, name: str) -> Path:
    """Where the points of a file (a quoted path) lie."""
    return shelf.files_place(root) / shelf.called(name)


def file_of(root: Path, point: FilePoint) -> Path:
    """The point's copy."""
    return folder(root, point.file) / f"{point.epoch:08d}-{point.serial:08d}-{point.site}.copy"


def put(root: Path, point: FilePoint, pace: Callable[[], None]) -> Lying:
    """Make a point of a copy that is on disk under its temporary name. Raises OSError."""
    file = file_of(root, point)
    shelf.settle(file, _POINT.dump_json(point, indent=1).decode(), pace)
    return Lying(point, file, file.with_suffix(".json"))


def lying(root: Path, wrong: list[Trouble], name: str = "") -> Iterator[Lying]:
    """Every point of files, or of one, in no order; manifests not to be believed are added to `wrong`."""
    for manifest in shelf.manifests([folder(root, name)] if name else shelf.entries(shelf.files_place(root))):
        found = read(root, manifest)
        if isinstance(found, Trouble):
            wrong.append(found)
        else:
            yield found


def read(root: Path, manifest: Path) -> Lying | Trouble:
    """The point of a manifest, or why that is not to be believed."""
    where = quoted(str(manifest.relative_to(root)))
    try:
        point = _POINT.validate_json(shelf.text_of(manifest), strict=True)
        unquoted(point.file)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the manifest"
        return Trouble(file=where, text=f"{key}: {first['msg']}")
    except (OSError, ValueError) as error:
        return Trouble(file=where, text=shown(str(error)))
    if point.schema > FILES_SCHEMA:
        return Trouble(file=where, text="written by a newer failoverd: run that")
    file = file_of(root, point)
    if point.made_at.tzinfo is None or file.with_suffix(".json") != manifest:
        return Trouble(file=where, text="it stands where the manifest of another point belongs")
    return Lying(point, file, manifest)


def differs(one: Lying, pace: Callable[[], None]) -> str:
    """Why this copy is not what its manifest says; empty where it is. Raises OSError, and what `pace` raises."""
    size = one.file.lstat().st_size
    if size != one.point.size:
        return f"has {size} bytes, its manifest says {one.point.size}"
    if hashed(one.file, pace) != one.point.sha256:
        return "its content is not what the manifest's SHA-256 was made of"
    return ""
