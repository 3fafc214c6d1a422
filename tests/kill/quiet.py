"""What daemons in this process say, kept instead of printed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import structlog

KEPT = 20_000
"""Lines of one run; more are a fault of their own."""


class _Lines:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def msg(self, message: str) -> None:
        if len(self._lines) < KEPT:
            self._lines.append(message)

    debug = info = warning = error = critical = log = msg


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """The log of everything that runs meanwhile, a JSON line each."""
    lines: list[str] = []
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer(default=str)],
        wrapper_class=structlog.BoundLogger, logger_factory=lambda *_: _Lines(lines), cache_logger_on_first_use=False,
    )  # fmt: skip
    try:
        yield lines
    finally:
        structlog.configure(**before)
