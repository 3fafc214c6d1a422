"""The unmodified daemon as a process of its own, against a served world."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Sequence
from typing import IO

AS_INSTALLED = ("-m", "failoverd")


async def start(*arguments: str, output: int | IO[bytes], program: Sequence[str] = AS_INSTALLED) -> Process:
    """`failoverd ARGUMENTS`; what it says goes to `output`. Settings of the caller's environment do not reach it.

    `program` is what Python is to run it by.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FAILOVERD")}
    # A session of its own: Ctrl-C is for who started it, who then ends it in order.
    return await asyncio.create_subprocess_exec(
        sys.executable, *program, *arguments,
        stdin=DEVNULL, stdout=output, stderr=STDOUT, env=environment, start_new_session=True,
    )  # fmt: skip


def free_port() -> int:
    """One of loopback that nobody listens on now, for a configuration that must name it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
