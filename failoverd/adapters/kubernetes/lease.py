"""Who leads: one Lease, held by client-go's rules (tools/leaderelection), on the monotonic clock alone.

The one rule of this file: acting is allowed only while `monotonic < start of the last successful renewal +
deadline`, and the deadline is shorter than what the others wait for, so that two leaders never overlap even
when every request hangs. Clocks of other hosts are never compared with ours: a foreign record counts from the
moment its change was seen here.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from failoverd.adapters.kubernetes.client import Answer, Client, KubeError
from failoverd.adapters.kubernetes.rbac import Need, Where
from failoverd.core import names
from failoverd.core.model import Instance, Now
from failoverd.ports import Clock

NEEDS = (
    Need(where=Where.OWN, group="coordination.k8s.io", resource="leases", verbs=("create",)),
    Need(
        where=Where.OWN,
        group="coordination.k8s.io",
        resource="leases",
        verbs=("get", "update"),
        fixed=(names.LEASE,),
    ),
)

STOOD_STILL = timedelta(seconds=1)
"""More than the clocks of a machine that runs drift apart within a lease."""
CONFIG_HASH = "failoverd.io/config"
"""Annotation on our Lease: fingerprint of the configuration its holder runs under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimings:
    """Durations of leadership. `renew` and one failed try fit into `deadline`, `deadline` into `duration`."""

    renew: timedelta = timedelta(seconds=7)
    """Between two renewals while leading; up to a tenth is taken off at random."""
    retry: timedelta = timedelta(seconds=2)
    """Between two tries to renew after a failed one, and between two looks while another leads."""
    deadline: timedelta = timedelta(seconds=12)
    """After the last successful renewal began: from then on nothing is acted upon."""
    duration: timedelta = timedelta(seconds=17)
    """How long the others wait without seeing a change before they take over."""

    def __post_init__(self) -> None:
        if not timedelta(0) < self.retry <= self.renew < self.deadline < self.duration:
            raise ValueError("leadership: retry <= renew < deadline < duration does not hold")

    @property
    def timeout(self) -> timedelta:
        """Of one request: less than half the deadline, and two fit between `renew` and the deadline."""
        return min((self.deadline - self.renew) / 2, self.deadline / 2 - timedelta(milliseconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the Lease says."""

    holder: str
    renewed: str
    duration: timedelta
    transitions: int
    config: str
    raw: dict[str, Any]

    @property
    def token(self) -> tuple[str, str, int]:
        """Changes whenever the holder has shown life."""
        return self.holder, self.renewed, self.transitions


def identity(name: str = "") -> str:
    """A name no other process bears: the given or the host's, and something random, so that two of one differ."""
    return f"{name or socket.gethostname()}_{secrets.token_hex(4)}"


def micro_time(moment: datetime) -> str:
    """MicroTime as Kubernetes parses it: always six decimals, which `isoformat` drops when they are zero."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


class LeaseLeadership:
    """The `Leadership` of the loop. `run` seeks and keeps the lead until it is cancelled or `stop` is set."""

    def __init__(  # noqa: PLR0913
        self,
        client: Client,
        clock: Clock,
        *,
        namespace: str,
        holder: str,
        config: str = "",
        timings: LeaseTimings | None = None,
        wake: asyncio.Event | None = None,
    ) -> None:
        """`wake` is set whenever the lead has been gained, so that nobody sleeps on a move that is to go on."""
        self.holder = holder
        self.mismatch = ""
        """Why this instance does not simply lead: another configuration is in force. Empty otherwise."""
        self.trouble = ""
        """What kept the last renewal from happening; empty while all is well."""
        self._client = client
        self._clock = clock
        self._config = config
        self._wake = wake
        self._timings = timings or LeaseTimings()
        self._base = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._record: Record | None = None
        self._changed_at = timedelta(0)
        self._renewed_at: timedelta | None = None
        self._renewed_wall: datetime | None = None
        self._looked_at: timedelta | None = None
        self._fresh_at: timedelta | None = None
        self._fresh_wall: datetime | None = None
        self._wrote_at = timedelta(0)
        self._met_another = False
        self._reading = asyncio.Lock()
        self._lock = asyncio.Lock()

    def instance(self, now: Now) -> Instance:
        """What is known at this moment; `leader` only while the last renewal is recent enough."""
        holder = self._record.holder if self._record else ""
        return Instance(leader=self._leads(now.mono), holder=holder, generation=self.generation)

    @property
    def generation(self) -> int:
        """How often the lead has changed hands, as the Lease counts it."""
        return self._record.transitions if self._record else 0

    async def look(self, *, fresh: bool = False) -> datetime | None:
        """Read the Lease and take note of it; returns the API server's time, None when it told none.

        Also the tick's proof that the API server answers, in one small request. Raises KubeError.
        """
        began, wall = self._clock.now().mono, self._clock.now().wall
        try:
            answer = await self._client.request(
                "GET", f"{self._base}/{names.LEASE}", timeout=self._timings.timeout, fresh=fresh
            )
        except KubeError as error:
            if error.status != 404:
                raise
            self._note(None, began)
            return error.date
        self._note(_record(answer.body, self._timings.duration), began)
        if fresh:
            self._fresh_at, self._fresh_wall = began, wall
        return answer.date

    async def fresh(self, now: Now, max_age: timedelta = timedelta(seconds=1)) -> bool:
        """Whether we lead by a look at the Lease, over a new connection, that began at most `max_age` ago.

        Asked before every act outside the cluster: those carry no fencing token. False when it can't be read.
        """
        async with self._reading:
            age = max(now.mono, self._clock.now().mono) - self._fresh_at if self._fresh_at is not None else None
            if age is None or age > max_age or self._slept(self._fresh_wall, age):
                try:
                    await self.look(fresh=True)
                except KubeError as error:
                    self._fresh_at, self.trouble = None, str(error)
                    return False
        return self._leads(self._clock.now().mono)

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Seek the lead, keep it, and give it up in order when `stop` is set or this is cancelled."""
        ended = stop if stop is not None else asyncio.Event()
        try:
            while not ended.is_set():
                led = self._leads(self._clock.now().mono)
                if await self.turn() and not led and self._wake is not None:
                    self._wake.set()
                pause = self.pause(self._clock.now().mono).total_seconds()
                try:
                    async with asyncio.timeout(pause):
                        await ended.wait()
                except TimeoutError:
                    continue
        finally:
            await asyncio.shield(self.release())

    async def turn(self) -> bool:
        """One try to gain or to renew the lead; whether we lead after it. Never raises KubeError."""
        async with self._lock:
            for _ in range(2):
                try:
                    await self._turn()
                    self.trouble = ""
                except KubeError as error:
                    self.trouble = str(error)
                    if error.status in {404, 409}:  # written since it was read: lost, unless a look says no
                        self._renewed_at = self._record = self._looked_at = None
                        continue
                break
            return self._leads(self._clock.now().mono)

    async def release(self) -> None:
        """Give up the lead, so that nobody has to wait for it to run out. Never raises KubeError."""
        async with self._lock:
            leads, self._renewed_at = self._leads(self._clock.now().mono), None
            if not leads or self._record is None:
                return
            try:
                await self._put(self._record, holder="", duration=timedelta(seconds=1))
            except KubeError as error:
                self.trouble = str(error)

    async def _turn(self) -> None:
        began, wall = self._clock.now().mono, self._clock.now().wall
        recent = self._looked_at is not None and began - self._looked_at < self._timings.retry / 4
        if self._record is None or not (recent or self._leads(began)):
            await self.look()
            began, wall = self._clock.now().mono, self._clock.now().wall
        if self._record is None:
            # A Lease that vanished while another led: that one may not have noticed yet.
            if self._met_another and began - self._changed_at < self._timings.duration:
                return
            await self._create()
        elif self._record.holder == self.holder or self._may_take(self._record, began):
            await self._put(self._record, holder=self.holder, duration=self._timings.duration)
        else:
            return
        self._renewed_at, self._renewed_wall, self.mismatch = began, wall, ""

    def _leads(self, mono: timedelta) -> bool:
        if self._renewed_at is None or self._record is None or self._record.holder != self.holder:
            return False
        if self._slept(self._renewed_wall, mono - self._renewed_at):
            return False
        return mono < self._renewed_at + self._timings.deadline

    def _slept(self, wall: datetime | None, passed: timedelta) -> bool:
        """Whether this machine stood still, or its clock was set, since `wall`, while `passed` went by.

        The monotonic clock of a paused virtual machine stands still with it, and another may lead by now. A wall
        clock that is set forward costs one renewal.
        """
        return wall is not None and self._clock.now().wall - wall - passed > STOOD_STILL

    def _may_take(self, record: Record, mono: timedelta) -> bool:
        """Whether a record that isn't ours is free or has run out.

        Under another configuration than the recorded one we wait a whole duration longer, so that an instance
        which runs under the recorded one comes first.
        """
        self.mismatch = ""
        if self._differs(record):
            self.mismatch = f"the Lease was last held under configuration {record.config}, this is {self._config}"
        return mono >= self._runs_out(record)

    def _differs(self, record: Record) -> bool:
        return record.config not in {"", self._config}

    def _runs_out(self, record: Record) -> timedelta:
        """When a record that isn't ours may be taken unless it changes, on the monotonic clock."""
        held = max(record.duration, self._timings.duration) if record.holder else timedelta(0)
        return self._changed_at + held + (self._timings.duration if self._differs(record) else timedelta(0))

    def _note(self, record: Record | None, began: timedelta) -> None:
        if began < self._wrote_at:
            return  # sent before our last write was answered: it may show the time before
        before = self._record.token if self._record else None
        if self._looked_at is None or before != (record.token if record else None):
            self._changed_at = self._clock.now().mono
        if record is None or record.holder != self.holder:
            self._renewed_at = None
        self._met_another |= record is not None and record.holder not in {"", self.holder}
        self._record, self._looked_at = record, began

    def pause(self, now: timedelta) -> timedelta:
        """How long the next turn may wait: to the next renewal, look or try, or to where another's lead runs out."""
        if self._leads(now) and not self.trouble and self._renewed_at is not None:
            due = self._renewed_at + self._timings.renew * random.uniform(0.9, 1.0)  # noqa: S311
            return max(due - now, timedelta(0))
        record = self._record
        ours = record is not None and record.holder == self.holder
        pause = self._timings.retry / (4 if ours else 1) * random.uniform(0.8, 1.0)  # noqa: S311
        if record is None or ours or (left := self._runs_out(record) - now) <= timedelta(0):
            return pause
        return min(pause, left)

    async def _create(self) -> None:
        body = self._body({"name": names.LEASE}, transitions=0, acquired=None, holder=self.holder)
        self._wrote(await self._client.request("POST", self._base, body, timeout=self._timings.timeout))

    async def _put(self, record: Record, *, holder: str, duration: timedelta) -> None:
        metadata = dict(record.raw.get("metadata") or {})
        metadata.pop("managedFields", None)
        spec = record.raw.get("spec") or {}
        same = record.holder == holder or not holder
        body = self._body(
            metadata,
            transitions=record.transitions if same else record.transitions + 1,
            acquired=spec.get("acquireTime") if same else None,
            holder=holder,
            duration=duration,
        )
        path = f"{self._base}/{names.LEASE}"
        self._wrote(await self._client.request("PUT", path, body, timeout=self._timings.timeout))

    def _wrote(self, answer: Answer) -> None:
        self._wrote_at = self._clock.now().mono
        self._note(_record(answer.body, self._timings.duration), self._wrote_at)

    def _body(
        self,
        metadata: dict[str, Any],
        *,
        transitions: int,
        acquired: str | None,
        holder: str,
        duration: timedelta | None = None,
    ) -> dict[str, Any]:
        stamp = micro_time(self._clock.now().wall)
        annotations = dict(metadata.get("annotations") or {})
        if holder:
            annotations[CONFIG_HASH] = self._config
        whole = duration if duration is not None else self._timings.duration
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "annotations": annotations},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": max(1, round(whole.total_seconds())),
                "acquireTime": acquired or stamp,
                "renewTime": stamp,
                "leaseTransitions": transitions,
            },
        }


def _record(body: dict[str, Any], default: timedelta) -> Record:
    """The Lease as it was answered; what is missing counts as in client-go, a missing duration as ours."""
    spec = body.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    metadata = body.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        renewed=str(spec.get("renewTime") or ""),
        duration=timedelta(seconds=seconds) if isinstance(seconds, int) else default,
        transitions=transitions if isinstance(transitions, int) else 0,
        config=str(annotations.get(CONFIG_HASH, "")) if isinstance(annotations, dict) else "",
        raw=body,
    )
