"""Which lab of this machine has which number: two checkouts never share namespaces, groups or addresses."""

from __future__ import annotations

import contextlib
import fcntl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.layout import NUMBERS, LabError, Layout
from tests.lab.network import existing

REGISTRY = Path("/run/failoverd-lab")


@contextmanager
def _locked() -> Iterator[None]:
    REGISTRY.mkdir(exist_ok=True)
    with (REGISTRY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _owner(number: int) -> str | None:
    """The state folder of the lab with this number; None if the number is free."""
    try:
        return (REGISTRY / str(number)).read_text()
    except FileNotFoundError:
        # Namespaces without an entry: made by something else, or the registry was lost. Not ours to use.
        return "(unknown)" if existing(Layout(state=Path("/"), number=number)) else None


def take(state: Path, number: int | None) -> int:
    """A number for the lab in `state`, by default one derived from its path.

    Raises LabError naming the lab that has the wished one.
    """
    with _locked():
        for entry in REGISTRY.iterdir():
            if _is_entry(entry) and entry.read_text() == str(state):
                if number in {None, int(entry.name)}:
                    return int(entry.name)
                entry.unlink()
        first = zlib.crc32(str(state).encode()) % NUMBERS
        candidates = [(first + step) % NUMBERS for step in range(NUMBERS)] if number is None else [number]
        for candidate in candidates:
            if not 0 <= candidate < NUMBERS:
                raise LabError(f"instance {candidate} does not exist: choose 0 to {NUMBERS - 1}")
            owner = _owner(candidate)
            if owner is None:
                (REGISTRY / str(candidate)).write_text(str(state))
                return candidate
            if number is not None:
                raise LabError(f"instance {number} belongs to the lab in {owner}: take it down, or choose another")
        raise LabError(f"all {NUMBERS} instances are taken: see {REGISTRY}")


def hold_data_folder() -> None:
    """Have a /data on the machine for the nodes to mount theirs over, and note whether that made it."""
    with _locked():
        if not Path("/data").exists():
            Path("/data").mkdir()
            (REGISTRY / "made-data").touch()


def release(number: int) -> None:
    """Give a number back; with the machine's last one goes everything the labs share."""
    with _locked():
        (REGISTRY / str(number)).unlink(missing_ok=True)
        if any(_is_entry(entry) for entry in REGISTRY.iterdir()):
            return
        if (REGISTRY / "made-data").exists():
            with contextlib.suppress(OSError):
                Path("/data").rmdir()
        for entry in REGISTRY.iterdir():
            entry.unlink()
        REGISTRY.rmdir()


def forget(state: Path) -> bool:
    """Give back the number of a lab that broke before it wrote it down; False if there is none."""
    if not REGISTRY.exists():
        return False
    mine = [int(entry.name) for entry in REGISTRY.iterdir() if _is_entry(entry) and entry.read_text() == str(state)]
    for number in mine:
        release(number)
    return bool(mine)


def _is_entry(path: Path) -> bool:
    return path.name.isdecimal()
