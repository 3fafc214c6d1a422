"""One look at the world: every reading of a tick, side by side, each with a deadline.

The rule of this file: nothing waits for a slow reading, and nothing is asked a second time while a first question
is still open. What has not answered in time is Unknown and says so; a late answer is not used: it may be old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from failoverd.core.model import (
    Api,
    ClaimReading,
    Command,
    Folder,
    GuardReading,
    Guest,
    Instance,
    Kubelet,
    Lease,
    NodeReading,
    Now,
    Snapshot,
    Unknown,
    Workload,
)
from failoverd.core.rules import Rules, Site
from failoverd.ports import Clock

DEADLINE = timedelta(seconds=2)
"""For everything of one tick, which is itself 2 s at rest."""
PATIENCE = timedelta(milliseconds=500)
"""What took longer than this is hardly waited for the next time: a dead side must not slow down a move."""
GRACE = timedelta(milliseconds=100)
"""For what was slow the last time: a side that is well again answers within milliseconds."""
QUIET_AFTER = timedelta(seconds=12)
"""A lease moves every 10 s; only a node whose lease has not is worth a probe of its kubelet."""
STEPPED = timedelta(seconds=3)
"""An API server whose clock is this far behind what we count on from earlier answers was set back, or runs slow."""

T = TypeVar("T")
Key = tuple[str, str, Site]
"""App key, volume name, site."""


class Inbox(Protocol):
    """What operators ask for."""

    @property
    def commands(self) -> tuple[Command, ...]:
        """All that could be understood."""
        ...


class Readings(Protocol):
    """What Kubernetes says in one tick."""

    @property
    def api(self) -> Api | Unknown:
        """Whether the API server answered."""
        ...

    @property
    def nodes(self) -> Mapping[str, NodeReading]:
        """Lease and Node object of every node of ours and every witness."""
        ...

    @property
    def workloads(self) -> Mapping[str, Workload | Unknown]:
        """By app key."""
        ...

    @property
    def claims(self) -> Mapping[Key, ClaimReading | Unknown]:
        """Of every volume at both sites."""
        ...

    @property
    def guards(self) -> Mapping[Key, GuardReading | Unknown]:
        """Of every volume at both sites; empty where no guard is configured."""
        ...

    @property
    def commands(self) -> Inbox | Unknown:
        """What operators ask for."""
        ...


class Reader(Protocol):
    """Reads everything of Kubernetes. Never raises."""

    async def read(self, confirm: frozenset[str]) -> Readings:
        """`confirm`: nodes whose lease and object are read from the API server itself."""
        ...


class Side(Protocol):
    """One side's Syncthing. Never raises."""

    async def read(self, now: timedelta) -> Folder | Unknown:
        """What it says; `now` is the monotonic time."""
        ...


class Power(Protocol):
    """What says whether a node's guest runs. Never raises."""

    async def state(self) -> Guest | Unknown:
        """Whether it runs."""
        ...


KubeletProbe = Callable[[str], Awaitable[Kubelet | Unknown]]
"""Asks the kubelet of the node of this name. Never raises."""


class Probe(Generic[T]):
    """One thing that is read again and again, never twice at once."""

    def __init__(self, what: str, clock: Clock, *, vital: bool = False) -> None:
        self._what = what
        self.vital = vital
        self._clock = clock
        self._task: asyncio.Task[T] | None = None
        self._asked_at = timedelta(0)
        self._late = ""
        self.slow = False
        """It took longer than PATIENCE when it was last asked, or has not answered yet."""
        self._took = timedelta(0)

    def ask(self, call: Callable[[], Awaitable[T]], now: timedelta) -> asyncio.Task[T]:
        """Begin to read, unless an earlier question is still open."""
        if self._task is not None and self._task.done():
            # It came too late for its tick. Only what was wrong with it is worth keeping.
            self._late, self.slow = self._reason(self._task), self._took > PATIENCE
            self._task = None
        if self._task is None:
            self._task, self._asked_at = asyncio.ensure_future(self._timed(call)), now
        return self._task

    def answer(self, asked: timedelta, now: timedelta) -> T | Unknown:
        """The answer to what was asked in the tick of `asked`; Unknown when there is none at `now`."""
        task = self._task
        if task is None:
            return Unknown(f"{self._what}: not asked")
        if self._asked_at != asked or not task.done():
            self.slow = True
            waited = DEADLINE if self._asked_at == asked else now - self._asked_at
            last = f" (before that: {self._late})" if self._late else ""
            return Unknown(f"{self._what}: no answer within {round(waited.total_seconds(), 1):g} s{last}")
        self._task, self._late, self.slow = None, "", self._took > PATIENCE
        error = task.exception() if not task.cancelled() else asyncio.CancelledError("cancelled")
        if error is not None:
            return Unknown(f"{self._what}: {type(error).__name__}: {error}")
        return task.result()

    def cancel(self) -> asyncio.Task[T] | None:
        """Stop reading; what is still to be waited for."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    async def _timed(self, call: Callable[[], Awaitable[T]]) -> T:
        began = self._clock.now().mono
        try:
            return await call()
        finally:
            self._took = self._clock.now().mono - began

    @staticmethod
    def _reason(task: asyncio.Task[T]) -> str:
        if task.cancelled() or task.exception() is not None:
            return ""
        found = task.result()
        return found.why if isinstance(found, Unknown) else ""


class ApiTime:
    """The API server's clock between its answers, finer than the whole seconds of its `Date` header.

    Not ahead of the real one: every `Date` was true or past when it came. It does not run backwards either, so
    that what was asked for after something was seen bears a later time; only a clock that was set back is followed.
    """

    def __init__(self) -> None:
        self._date: datetime | None = None
        self._mono = timedelta(0)

    def heard(self, date: datetime, mono: timedelta) -> None:
        """An answer with this `Date` had come by the monotonic time `mono`."""
        known = self.at(mono)
        # Whole seconds: a `Date` a little behind what we know already is the rule and teaches nothing.
        if known is None or not known - STEPPED < date <= known:
            self._date, self._mono = date, mono

    def at(self, mono: timedelta) -> datetime | None:
        """The time at the monotonic time `mono`; None before the first answer."""
        return None if self._date is None else self._date + (mono - self._mono)


class WorldObserver:
    """The Observer of the real world, for one set of rules."""

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        reader: Reader,
        sides: Mapping[Key, Side],
        power: Mapping[str, Power],
        kubelet: KubeletProbe,
    ) -> None:
        """`power` is by node, for the nodes that have a fence."""
        self._rules = rules
        self._clock = clock
        self._reader = reader
        self._sides = sides
        self._power = power
        self._kubelet = kubelet
        self._api_time = ApiTime()
        self._moved: dict[str, tuple[str, timedelta]] = {}
        self._kube_probe: Probe[Readings] = Probe("Kubernetes", clock, vital=True)
        self._folder_probes: dict[Key, Probe[Folder | Unknown]] = {
            key: Probe(f"Syncthing of {key[0]} {key[1]} at {key[2]}", clock) for key in sides
        }
        self._power_probes: dict[str, Probe[Guest | Unknown]] = {
            node: Probe(f"guest of {node}", clock, vital=True) for node in power
        }
        self._kubelet_probes: dict[str, Probe[Kubelet | Unknown]] = {}

    async def observe(self, now: Now, confirm: frozenset[str], instance: Instance) -> Snapshot:
        """One snapshot, after DEADLINE at the latest."""
        asked = now.mono
        quiet = self._quiet(asked)
        tasks = self._begin(asked, confirm, quiet)
        for hopeless, within in ((False, DEADLINE), (True, GRACE)):
            # what decisions rest on is always waited for
            if awaited := [task for probe, task in tasks if (probe.slow and not probe.vital) is hopeless]:
                await asyncio.wait(awaited, timeout=within.total_seconds())
        mono = self._clock.now().mono
        found = self._kube_probe.answer(asked, mono)
        readings = _Nothing(self._rules, found) if isinstance(found, Unknown) else found
        self._note_leases(readings, asked)
        return Snapshot(
            api=self._dated(readings.api, mono),
            instance=instance,
            nodes={name: self._node(name, readings, asked, mono, quiet) for name in _nodes(self._rules)},
            workloads=readings.workloads,
            folders={key: probe.answer(asked, mono) for key, probe in self._folder_probes.items()},
            claims=readings.claims,
            guards=readings.guards,
            commands=() if isinstance(readings.commands, Unknown) else readings.commands.commands,
        )

    def api_now(self) -> datetime | None:
        """The API server's time at this moment; None while it was never heard."""
        return self._api_time.at(self._clock.now().mono)

    async def close(self) -> None:
        """Stop everything that is still being read."""
        probes: list[Probe[Any]] = [
            self._kube_probe,
            *self._folder_probes.values(),
            *self._power_probes.values(),
            *self._kubelet_probes.values(),
        ]
        left = [task for probe in probes if (task := probe.cancel()) is not None]
        await asyncio.gather(*left, return_exceptions=True)

    def _begin(
        self, mono: timedelta, confirm: frozenset[str], quiet: frozenset[str]
    ) -> list[tuple[Probe[Any], asyncio.Task[Any]]]:
        asked: list[tuple[Probe[Any], asyncio.Task[Any]]] = [
            (self._kube_probe, self._kube_probe.ask(lambda: self._read_kube(confirm), mono))
        ]
        asked += [
            (folder, folder.ask(partial(self._sides[key].read, mono), mono))
            for key, folder in self._folder_probes.items()
        ]
        asked += [(guest, guest.ask(self._power[node].state, mono)) for node, guest in self._power_probes.items()]
        for node in quiet:
            probe = self._kubelet_probes.setdefault(node, Probe(f"kubelet of {node}", self._clock))
            asked.append((probe, probe.ask(partial(self._kubelet, node), mono)))
        return asked

    async def _read_kube(self, confirm: frozenset[str]) -> Readings:
        readings = await self._reader.read(confirm)
        if isinstance(readings.api, Api):
            self._api_time.heard(readings.api.date, self._clock.now().mono)
        return readings

    def _dated(self, api: Api | Unknown, mono: timedelta) -> Api | Unknown:
        """As of the end of the look: whatever was seen in it was seen before that."""
        date = self._api_time.at(mono)
        return api if isinstance(api, Unknown) or date is None else replace(api, date=date)

    def _node(
        self, name: str, readings: Readings, asked: timedelta, mono: timedelta, quiet: frozenset[str]
    ) -> NodeReading:
        missing = Unknown(f"node {name}: not read")
        found = readings.nodes.get(name, NodeReading(lease=missing, node=missing))
        if name in quiet:
            found = replace(found, kubelet=self._kubelet_probes[name].answer(asked, mono))
        if name in self._power_probes:
            found = replace(found, guest=self._power_probes[name].answer(asked, mono))
        return found

    def _note_leases(self, readings: Readings, mono: timedelta) -> None:
        for name, node in readings.nodes.items():
            known = self._moved.get(name)
            if isinstance(node.lease, Lease) and (known is None or known[0] != node.lease.stamp):
                self._moved[name] = (node.lease.stamp, mono)

    def _quiet(self, mono: timedelta) -> frozenset[str]:
        """Nodes whose lease was seen, and has not been seen to move for a while."""
        ours = _nodes(self._rules)
        return frozenset(name for name, (_, at) in self._moved.items() if name in ours and mono - at > QUIET_AFTER)


@dataclass(frozen=True, slots=True)
class _Nothing:
    """What is known of Kubernetes when it has not answered."""

    rules: Rules
    why: Unknown

    @property
    def api(self) -> Unknown:
        return self.why

    @property
    def nodes(self) -> Mapping[str, NodeReading]:
        return dict.fromkeys(_nodes(self.rules), NodeReading(lease=self.why, node=self.why))

    @property
    def workloads(self) -> Mapping[str, Unknown]:
        return {app.key: self.why for app in self.rules.apps}

    @property
    def claims(self) -> Mapping[Key, Unknown]:
        copies = [(app.key, volume.name) for app in self.rules.apps for volume in app.volumes]
        return {(*copy, site): self.why for copy in copies for site in Site}

    @property
    def guards(self) -> Mapping[Key, Unknown]:
        return self.claims if self.rules.guard is not None else {}

    @property
    def commands(self) -> Unknown:
        return self.why


def _nodes(rules: Rules) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*rules.nodes, *(node for node, _ in rules.witnesses))))
