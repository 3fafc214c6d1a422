"""A program of the operator's as the power switch of a node: the hook for everything that has no fence of its own.

The contract stands in `docs/fencing.md`. Its one rule: a `stopped` that is not said exactly as agreed is Unknown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import PurePath

from failoverd.adapters.fencing import FenceError
from failoverd.adapters.fencing.process import Ended, ProcessError, clean, environment, run
from failoverd.clock import sleep
from failoverd.core.model import Guest, GuestState, Unknown
from failoverd.ports import Clock

POLL = timedelta(seconds=1)
OFF_WITHIN = timedelta(seconds=50)
"""For request and confirmation together; less than the core's `fence_timeout` (60 s)."""
KEYS = frozenset({"state", "busy", "managed"})
SHOWN = 80
"""Characters of a wrong answer that are repeated."""


class Verb(StrEnum):
    """What the program is asked, its last argument but one."""

    STATE = "state"
    OFF = "off"
    ON = "on"


class Command:
    """One node behind one program."""

    def __init__(self, argv: Sequence[str], node: str, timeout: timedelta, clock: Clock) -> None:
        """`timeout` is for each call of the program."""
        self.name = f"{node} by {PurePath(argv[0]).name}"
        self._argv = tuple(argv)
        self._node = node
        self._timeout = timeout
        self._clock = clock

    async def check(self) -> tuple[str, ...]:
        """What is wrong, one line each: only whether the state can be told is known without doing it."""
        found = await self.state()
        if isinstance(found, Unknown):
            return (found.why,)
        return (f"{self.name}: {found.managed}",) if found.managed else ()

    async def state(self) -> Guest | Unknown:
        """What the program says of the node. Never raises."""
        try:
            return _guest(await self._run(Verb.STATE))
        except (ProcessError, _Broken) as error:
            return Unknown(f"{self.name}: state: {error}")

    async def off(self) -> str:
        """Have the power cut, and hear `stopped` from a call after that. Raises FenceError."""
        return await self._switch(Verb.OFF, GuestState.STOPPED)

    async def on(self) -> str:
        """Have it started, and hear `running` from a call after that. Raises FenceError."""
        return await self._switch(Verb.ON, GuestState.RUNNING)

    async def close(self) -> None:
        """Nothing stays open."""

    async def _switch(self, verb: Verb, wanted: GuestState) -> str:
        end = self._clock.now().mono + max(OFF_WITHIN, self._timeout * 3)
        before = await self.state()
        if isinstance(before, Unknown):
            raise FenceError(f"{before.why}; {verb} was not tried, for nothing could confirm it")
        if before.state is wanted:
            return f"{self.name} was {wanted} already"
        if verb is Verb.OFF and before.managed:
            raise FenceError(f"{self.name}: off refused: {before.managed}")
        failed = ""
        try:
            ended = await self._run(verb)
            if ended.status != 0:
                failed = _said(ended)
        except ProcessError as error:
            failed = str(error)
        while True:
            after = await self.state()
            if isinstance(after, Guest) and after.state is wanted:
                return f"{self.name} is {wanted}" + (f", though {verb} failed: {failed}" if failed else "")
            if failed or self._clock.now().mono + POLL + self._timeout >= end:
                now = after.why if isinstance(after, Unknown) else f"{self.name} is {after.state}"
                raise FenceError(f"{self.name}: {verb}: {failed or 'not confirmed in time'}; {now}")
            await sleep(POLL)

    async def _run(self, verb: Verb) -> Ended:
        return await run(
            [*self._argv, verb, self._node],
            self._timeout,
            environment(FAILOVERD_NODE=self._node, FAILOVERD_VERB=verb),
        )


class _Broken(Exception):
    """The program kept not to the contract; the text says how."""


def _said(ended: Ended) -> str:
    return f"{ended.how}: {ended.complaint}" if ended.complaint else ended.how


def _guest(ended: Ended) -> Guest:
    """The one line of a `state`. Raises _Broken for anything else."""
    if ended.status != 0:
        raise _Broken(_said(ended))
    try:
        text = ended.out.decode().strip()
        found = json.loads(text, object_pairs_hook=_once) if not ended.cut and len(text.splitlines()) == 1 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        shown = clean(ended.out[:SHOWN].decode(errors="replace"))
        raise _Broken(f'\'{shown}\' is not one line of JSON as {{"state": "running"}}')
    unknown = sorted(found.keys() - KEYS)
    if unknown:
        raise _Broken(f"unknown key '{clean(unknown[0])[:SHOWN]}'; known are state, busy, managed")
    for key in ("busy", "managed"):
        if not isinstance(found.get(key, ""), str):
            raise _Broken(f"'{key}' is not text")
    if found.get("state") not in tuple(GuestState):
        raise _Broken(f"state is '{clean(str(found.get('state')))[:SHOWN]}', neither running nor stopped")
    return Guest(
        state=GuestState(found["state"]), busy=clean(found.get("busy", "")), managed=clean(found.get("managed", ""))
    )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys are told once each: of two states, neither is to be believed."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found
