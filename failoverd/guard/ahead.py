"""How many transactions a lost side's database has that the restore point of it lacks: as far as its WAL tells.

A WAL is counted from where it was when the point was made, which is known again by the salts in its head: SQLite
draws new ones whenever it begins the file anew. In rollback mode the counter in the header would tell, but a file
that replication has replaced meanwhile counts on from the point as well, and nothing tells which of the two it is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

HEAD, FRAME = 32, 24
"""Bytes of a WAL's head, and of what stands before each page in it."""
INDEX = 96
"""Bytes of the two copies of the WAL index's head, in `-shm`."""


def mark(index: bytes) -> tuple[str, int]:
    """The salts (in hex) and the last frame of a WAL, out of its index; empty and 0 where that does not tell."""
    if len(index) != INDEX or index[:48] != index[48:]:
        return "", 0
    return index[32:40].hex(), int(struct.unpack("=I", index[16:20])[0])


def beyond(database: Path, salt: str, frame: int, pace: Callable[[], None]) -> int | None:
    """The transactions in its WAL after that frame, at most: one that a crash tore counts. None where it is not to be
    known. Raises OSError, and what `pace` raises.
    """
    try:
        handle = os.open(f"{database}-wal", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as wal:
        head = wal.read(HEAD)
        if not salt or len(head) < HEAD or head[16:24].hex() != salt:
            return None
        page, number, found = struct.unpack(">I", head[8:12])[0], 0, 0
        while (each := wal.read(FRAME)) and len(each) == FRAME and each[8:16] == head[16:24]:
            number += 1
            # the last frame of a transaction says how large the database is after it
            found += number > frame and each[4:8] != bytes(4)
            wal.seek(page, os.SEEK_CUR)
            if number % 1000 == 0:
                pace()
    return found if number >= frame else None
