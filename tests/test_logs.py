"""Log lines as they come out: one a line, and no secret on any of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog

from failoverd.logs import LogFormat, configure
from tests.adapters.receiver import receiving

SECRET = "https://discord.example/api/webhooks/1/very-secret"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def parsed(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_has_one_object_a_line_with_time_and_level() -> None:
    out = io.StringIO()
    configure(stream=out)
    structlog.get_logger("failoverd").warning("verdict", node="k3s-w1", evidence=["lease silent for 31 s"])
    (line,) = parsed(out)
    assert list(line)[:3] == ["at", "level", "event"]
    assert line.pop("at").endswith("Z")
    assert line == {"event": "verdict", "level": "warning", "node": "k3s-w1", "evidence": ["lease silent for 31 s"]}


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        configure(stream=out)
        structlog.get_logger("failoverd").info("phase", app="media/sonarr")
    assert "media/sonarr" in terminal.getvalue()
    with pytest.raises(ValueError, match=r"Expecting value|Extra data"):
        json.loads(terminal.getvalue())
    assert parsed(pipe)[0]["app"] == "media/sonarr"


@pytest.mark.parametrize("form", [LogFormat.CONSOLE, LogFormat.JSON])
def test_an_event_is_one_line_whatever_is_in_it(form: LogFormat) -> None:
    out = io.StringIO()
    configure(form=form, stream=out)
    log = structlog.get_logger("failoverd")
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError as error:
        log.error("a listener\nfailed", exc_info=error, detail="a\nb", items=["c\nd"])
        log.error("the same", exc_info=True)
        logging.getLogger("asyncio").error("foreign\nlines", exc_info=True)
    assert len(out.getvalue().splitlines()) == 3
    assert out.getvalue().count("RuntimeError: first") == 3
    assert "test_logs.py" in out.getvalue()


@pytest.mark.parametrize("form", [LogFormat.CONSOLE, LogFormat.JSON])
def test_secrets_are_struck_out_by_value_and_by_key_however_deep(form: LogFormat) -> None:
    out = io.StringIO()
    configure(form=form, stream=out, secrets=[SECRET, "hunter22"])
    log = structlog.get_logger("failoverd")
    try:
        raise RuntimeError(f"cannot reach {SECRET}")
    except RuntimeError:
        log.exception(f"posting to {SECRET}", api_token="abc-def", nested={"Authorization": "Bearer xyz"})
    log.info("x", list=["hunter22", {"deep": ("hunter22",)}], error=ValueError("hunter22"), password="pw-pw")
    logging.getLogger("library").warning("got %s", SECRET)
    for word in ("very-secret", "hunter22", "abc-def", "xyz", "pw-pw"):
        assert word not in out.getvalue()
    assert out.getvalue().count("***") >= 8


async def test_httpx_does_not_print_the_address_it_posts_to() -> None:
    out = io.StringIO()
    configure(level="debug", stream=out)
    async with receiving() as chat, httpx.AsyncClient(trust_env=False) as http:
        await http.post(f"{chat.url}/api/webhooks/1/very-secret")
    assert "very-secret" not in out.getvalue()


def test_the_console_leaves_out_what_is_not_there() -> None:
    out = io.StringIO()
    configure(form=LogFormat.CONSOLE, stream=out)
    structlog.get_logger("failoverd").info("verdict", before=None, objections=[], proven=False, silent=0)
    assert out.getvalue().split("verdict")[1].split() == ["proven=False", "silent=0"]


def test_levels() -> None:
    out = io.StringIO()
    configure(level="warning", stream=out)
    log = structlog.get_logger("failoverd.notify")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in parsed(out)] == ["loud"]
    with pytest.raises(ValueError, match="log level 'chatty': use debug, info, warning or error"):
        configure(level="chatty")


def test_configuring_again_does_not_double_the_lines() -> None:
    out = io.StringIO()
    for _ in range(3):
        configure(stream=out)
    structlog.get_logger("failoverd").info("once")
    assert len(parsed(out)) == 1
