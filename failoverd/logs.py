"""Log lines: structlog, one event a line, for people on a terminal and JSON everywhere else.

The one rule of this file: no secret reaches a line. Known secret values are struck out wherever they appear,
the values of keys named like secrets too, and libraries that log addresses at INFO (httpx does, and the
address of a chat webhook is its password) are heard from WARNING on.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

STRUCK = "***"
SECRET_KEY = re.compile(r"token|secret|password|passphrase|authorization|api_?key|cookie", re.IGNORECASE)
SHORTEST_SECRET = 6
"""A shorter value would strike out ordinary words."""


class LogFormat(StrEnum):
    """How lines look: `auto` is `console` on a terminal and `json` elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def configure(
    *,
    form: LogFormat = LogFormat.AUTO,
    level: str = "info",
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Send everything logged to `stream` (stderr by default); call again to change it.

    `level` is for our own events: debug, info, warning, error. Raises ValueError for another one.
    """
    out = stream or sys.stderr
    ours = logging.getLevelName(level.upper())
    if not isinstance(ours, int):
        raise ValueError(f"log level {level!r}: use debug, info, warning or error")
    console = form is LogFormat.CONSOLE or (form is LogFormat.AUTO and out.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console, key="at"),
        error_in_line,
        Redact(secrets),
        one_line,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([without_nothing, _console(out)] if console else [in_order, _json]),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("failoverd").setLevel(ours)


_json = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)


def _console(out: TextIO) -> Processor:
    colours = out.isatty() and "NO_COLOR" not in os.environ
    return structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="at", pad_event_to=0, sort_keys=False)


def error_in_line(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Turn exception information into two fields: what it was and where it came from."""
    info = event.pop("exc_info", None)
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else None
    if error is None and info is True:
        error = sys.exc_info()[1]
    if error is not None:
        event["error"] = f"{type(error).__name__}: {error}"
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None:
            event["raised"] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return event


def one_line(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Keep the event itself on one line; values are quoted by both renderers."""
    event["event"] = " | ".join(str(event.get("event", "")).splitlines())
    return event


def without_nothing(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Leave out what is absent or empty: people read what there is, programs want every key."""
    return {key: value for key, value in event.items() if value is not None and value != []}


def in_order(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Time, level and event first, wherever the eye or `cut` looks for them."""
    first = {key: event[key] for key in ("at", "level", "event") if key in event}
    return {**first, **event}


class Redact:
    """Strikes out secrets, by value and by key, in events however deep."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: a secret that contains another must not leave its rest behind.
        self._values = sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        """A copy of the event without secrets."""
        return {key: self._clean(key, value) for key, value in event.items()}

    def _clean(self, key: str, value: object) -> object:
        if key.startswith("_"):  # structlog's own record, never printed
            return value
        if SECRET_KEY.search(key) and value not in (None, "", False):
            return STRUCK
        if isinstance(value, Mapping):
            return {str(k): self._clean(str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean("", item) for item in value]
        if isinstance(value, bool | int | float | None):
            return value
        text = str(value)
        for secret in self._values:
            text = text.replace(secret, STRUCK)
        return text
