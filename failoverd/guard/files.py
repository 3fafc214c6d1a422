"""Files of a volume: names that are no text, copies that are hashed on the way, renames that survive a power cut.

Whatever is being written is called `.syncthing.….tmp`, which Syncthing ignores by itself, wherever it lies; such a
name for a *folder* would not do, because Syncthing descends into it (read in its source: the walk ignores the folder
and goes on with what is in it). It removes such files after 24 h, so nothing that matters keeps that name.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

TEMPORARY = (".syncthing.", "~syncthing~")
"""How names begin that Syncthing ignores."""
CHUNK = 1024 * 1024
"""Bytes read at once, between two looks at the pace."""


def temporary(path: Path) -> Path:
    """Where `path` is written before it is renamed: the same folder, a name that Syncthing ignores."""
    return path.with_name(f"{TEMPORARY[0]}{path.name}.tmp")


def quoted(relative: str) -> str:
    """A path of the volume as text: any byte that is not a plain character is `%XX`."""
    return quote_from_bytes(os.fsencode(relative))


def unquoted(text: str) -> str:
    """The path again, as the operating system's functions take it. Raises ValueError where it leaves the volume."""
    relative = os.fsdecode(unquote_to_bytes(text))
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{text!r} is not a path inside the volume")
    return relative


def inside(root: Path, relative: str) -> Path:
    """`relative` under `root`. Raises ValueError where a folder on the way is a link or no folder."""
    folder = root
    for part in relative.split("/")[:-1]:
        folder = folder / part
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise ValueError(f"{shown(folder)} is no folder (or a link to one)")
    return root / relative


def shown(path: Path | str) -> str:
    """A path for people, on one line whatever is in it."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder last. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path, mode: int | None = None) -> None:
    """Make a file's content last, and give it permission bits. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if mode is not None:
            os.fchmod(handle, mode)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, text: str) -> None:
    """Replace a small file so that it is either the old or the new one, also after a power cut. Raises OSError."""
    new = temporary(path)
    new.write_text(text, encoding="utf-8")
    sync_file(new)
    new.rename(path)
    sync_folder(path.parent)


def hashed(path: Path, pace: Callable[[], None], most: int | None = None) -> str:
    """SHA-256 of a file, in hex; of one that has more bytes than `most`, of its beginning. Raises OSError."""
    return _through(path, None, pace, most)


def copied(source: Path, target: Path, pace: Callable[[], None], most: int | None = None) -> str:
    """Copy a regular file over `target`, on disk when this returns; its SHA-256 in hex. Raises OSError.

    Of one that has more bytes than `most`, its beginning.
    """
    return _through(source, target, pace, most)


def _through(source: Path, target: Path | None, pace: Callable[[], None], most: int | None) -> str:
    digest, done = hashlib.sha256(), 0
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600) if target else None
        try:
            while (most is None or done <= most) and (piece := os.read(reading, CHUNK)):
                digest.update(piece)
                done += len(piece)
                rest = memoryview(piece)
                while writing is not None and rest:
                    rest = rest[os.write(writing, rest) :]
                pace()
            if writing is not None:
                os.fsync(writing)
        finally:
            if writing is not None:
                os.close(writing)
    finally:
        os.close(reading)
    return digest.hexdigest()
