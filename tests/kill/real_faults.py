"""A move at the real API server, and its answers spoilt on their way; or the server itself turns the daemon away: its
token revoked and another one issued, its rights taken from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kill import spoils
from tests.kill.naming import Call
from tests.kill.proxy import Answer
from tests.kill.real_scene import RealScene
from tests.kill.spoils import EVERY, Spoiler
from tests.kill.stories import Story

ROTATED, WITHDRAWN = "token revoked", "rights withdrawn for 15s"
WITHDRAWN_FOR = 15.0
SLOW = ("hang", "drip")
"""Each of them costs a whole request's time: writes and the reads of our own Lease alone."""
ONCE = tuple(fault for fault in spoils.LASTING if fault != "rotated")
FAULTS = (*spoils.ANSWERS, *spoils.WRITES, *ONCE, ROTATED, WITHDRAWN)
STOP = "PATCH deployments/sonarr reconcile=disabled"
HEAVIEST = 120 * 1024 * 1024
"""Bytes of memory that one instance may ever take."""
LONGEST = 1500.0
"""Seconds until the move has ended, whatever goes wrong on the way: a scan that is not answered takes 300."""
SETTLES = 45.0
"""Seconds after a fault within which what failed has been written again: the scribe tries every half minute."""


@dataclass(slots=True, kw_only=True)
class RealSpoiler(Spoiler):
    """Spoils answers of one life; the server's own refusals begin at the call that is named."""

    scene: RealScene
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def _takes(self, call: Call) -> bool:
        if self.fault in SLOW and not (call.writes or call.name == "GET leases/failoverd"):
            return False
        if self.fault in (ROTATED, WITHDRAWN) and self.call == call.point and not self.hit:
            self.hit.append(call.point)
            return True
        return Spoiler._takes(self, call)

    def _instead(self, call: Call) -> Answer | None:
        if self.fault not in (ROTATED, WITHDRAWN):
            return Spoiler._instead(self, call)
        if self.armed and self._takes(call):
            act = self._rotate if self.fault == ROTATED else self._withdraw
            self.tasks.append(asyncio.create_task(act(), name=self.fault))
        return None

    async def _rotate(self) -> None:
        account, life = self.scene.account, self.life
        assert account is not None
        assert life is not None
        await account.revoke(await account.rotate())
        await asyncio.sleep(spoils.ROTATED_AFTER)
        life.proxy.kubeconfig(account.token)

    async def _withdraw(self) -> None:
        account = self.scene.account
        assert account is not None
        try:
            await account.withdraw()
            await asyncio.sleep(WITHDRAWN_FOR)
        finally:
            await account.grant()

    async def over(self) -> None:
        """Wait until the server is as it was."""
        for result in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                self.failed.append(f"{self.fault}: {result!r}")


def where(fault: str, calls: Sequence[str]) -> str:
    """At which of an undisturbed move's calls a fault strikes: what lasts, at the stop or the first act."""
    if fault not in (*ONCE, ROTATED, WITHDRAWN):
        return EVERY
    acts = [call for call in calls if STOP in call]
    acts += [call for call in calls if " | PATCH " in call or call.endswith("GET leases/failoverd")]
    return acts[0]


def heaviest(scene: RealScene) -> int:
    """Bytes that the current instance has taken at most."""
    process = scene.current._process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


@dataclass(slots=True)
class Bounds:
    """What one instance may ask and say in the course of a fault."""

    scene: RealScene
    began: float = 0.0
    requests: int = 0
    lines: int = 0

    def begin(self) -> None:
        """Count from here."""
        self.began = self.scene.now
        self.requests, self.lines = self.scene.current.ledger.numbers, self._lines()

    def _lines(self) -> int:
        return self.scene.current.log.read_bytes().count(b"\n")

    def broken(self, spoiler: RealSpoiler) -> list[str]:
        """Every bound that was."""
        found = [*spoiler.failed]
        rate = (self.scene.current.ledger.numbers - self.requests) / max(self.scene.now - self.began, 1.0)
        if rate > spoils.BUSIEST:
            found.append(f"{rate:.0f} requests a second: {self.scene.current.ledger.counts.most_common(3)}")
        lines = self._lines() - self.lines
        if lines > spoils.UNDISTURBED + spoils.LOUDEST * max(1, len(spoiler.hit)):
            found.append(f"{lines} log lines, {len(spoiler.hit)} answers were spoilt")
        if (bytes_ := heaviest(self.scene)) > HEAVIEST:
            found.append(f"{bytes_ / 2**20:.0f} MB of memory")
        return found


async def go(on: RealScene, story: Story, call: str, fault: str) -> tuple[bool, list[str]]:
    """The move that `story` begins: whether anything was spoilt, and which bounds broke. Raises NotReached."""
    spoiler, bounds = RealSpoiler(fault, call, scene=on), Bounds(on)
    spoiler.life = on.current
    on.current.ledger.hooks = spoiler.hooks()
    bounds.begin()
    spoiler.armed = True
    await on.begin(story.trigger)

    def ended() -> bool:
        story.tend(on)
        return story.ended(on)

    await on.until(f"the end of {story.name}", ended, LONGEST)
    spoiler.armed = False  # what was begun is over; from here on all is well
    await spoiler.over()
    await on.rest(SETTLES)
    await on.until(f"the end of {story.name} to last", ended)
    return bool(spoiler.hit), bounds.broken(spoiler)
