"""Exit statuses, and the one exception by which a command ends with one line for the user."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the shell learns."""

    OK = 0
    REFUSED = 1
    """Refused, called off or failed; the line says why."""
    USAGE = 2
    """The command line or the configuration is wrong; nothing was contacted."""
    UNREACHABLE = 3
    """The cluster could not be reached, or did not answer sensibly."""
    UNFINISHED = 4
    """Waited as long as asked to; what was begun goes on."""
    NOT_ALL = 5
    """Something could not be read: what was shown is not all there is."""
    INTERNAL = 70
    """A fault of ours."""
    INTERRUPTED = 130
    """Ctrl-C. A command that was written already stays written."""


MEANINGS = {
    Exit.OK: "done",
    Exit.REFUSED: "refused, called off or failed",
    Exit.USAGE: "the command line or the configuration is wrong; nothing was contacted",
    Exit.UNREACHABLE: "the cluster could not be reached",
    Exit.UNFINISHED: "not finished within `--timeout`; it goes on",
    Exit.NOT_ALL: "something could not be read, and is said to be unknown: what was shown is not all there is",
    Exit.INTERNAL: "a fault of failoverd itself",
    Exit.INTERRUPTED: "interrupted by Ctrl-C; a command that was sent already stands",
}


class Stop(Exception):
    """Ends the command: `status` for the shell, the text for the user."""

    def __init__(self, status: Exit, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.status = status
        self.lines = lines
