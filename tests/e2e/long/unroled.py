"""`failoverd`, believing that its Syncthings have the roles it gave them, while all stay `sendreceive`.

For the tests alone: they show that what roles prevent is noticed when it happens.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta

from failoverd.adapters.syncthing import Syncthing
from failoverd.cli import main
from failoverd.core.model import Folder, Role, Unknown

believed: dict[str, tuple[Role, bool | None]] = {}
read = Syncthing.read


async def set_type(self: Syncthing, role: Role, keep: bool | None = None) -> None:
    """It is as if done."""
    before = believed.get(self.name, (role, False))[1]
    believed[self.name] = role, before if keep is None else keep


async def deluded(self: Syncthing, now: timedelta) -> Folder | Unknown:
    """What the side says, its type as it was believed to be."""
    found = await read(self, now)
    if isinstance(found, Unknown) or self.name not in believed:
        return found
    role, keeps = believed[self.name]
    return replace(found, type=role, versioning="simple" if keeps else "")


async def must_be(self: Syncthing, role: Role) -> None:
    """It is."""


if __name__ == "__main__":
    Syncthing.set_type = set_type  # type: ignore[method-assign]
    Syncthing.read = deluded  # type: ignore[method-assign]
    Syncthing._must_be = must_be  # type: ignore[method-assign,assignment]
    sys.exit(main())
