"""The command line. Nothing but one clear line and an exit status ever reaches the user: no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from failoverd.cli.exits import Exit, Stop
from failoverd.cli.parser import Handler, build
from failoverd.cli.parts import part
from failoverd.config import ConfigError

HANDLERS: Mapping[str, str] = {
    "run": "running.run",
    "once": "running.once",
    "status": "look.status",
    "why": "look.why",
    "history": "look.history",
    "displaced": "displaced.displaced",
    "restore": "restore.restore",
    "switchover": "operate.act",
    "failover": "operate.act",
    "failback": "operate.act",
    "release": "operate.act",
    "pause": "operate.act",
    "resume": "operate.act",
    "ack": "operate.act",
    "fence test": "fence.test",
    "guard": "guarding.guard",
    "config check": "configuration.check",
    "config show": "configuration.print_shown",
    "config schema": "configuration.print_schema",
    "config example": "configuration.print_example",
    "config rbac": "configuration.print_rbac",
    "demo": "running.demo",
    "simulate": "running.simulate",
    "replay": "replay.replay",
}
"""Where in this package each command is done."""


def handler(command: str) -> Handler:
    """What does `command`, imported now. Raises KeyError for one that is not in `HANDLERS`."""
    module, _, name = HANDLERS[command].partition(".")
    return part(f"{__name__}.{module}", name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = build()
    try:
        arguments = parser.parse(argv)
        command = getattr(arguments, "command", None)
        if command is None:
            parser.print_help()
            return Exit.USAGE
        status = int(handler(command)(arguments))
        sys.stdout.flush()
        return status
    except Stop as stop:
        for line in stop.lines:
            print(f"failoverd: {line}", file=sys.stderr)
        return stop.status
    except ConfigError as error:
        for problem in error.problems:
            print(f"failoverd: {problem}", file=sys.stderr)
        return Exit.USAGE
    except KeyboardInterrupt:
        print("failoverd: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has seen enough; what is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:  # the last resort: a person sees one line, not our insides
        if os.environ.get("FAILOVERD_TRACEBACK"):
            raise
        text = " ".join(str(error).split())
        print(
            f"failoverd: a fault of failoverd itself: {type(error).__name__}: {text}"
            " (FAILOVERD_TRACEBACK=1 shows where)",
            file=sys.stderr,
        )
        return Exit.INTERNAL
