"""A move, and answers of the servers spoilt in its course: at one request, or at every distinct one once.

Whatever is answered, the daemon freezes or goes on; it never acts wrongly, and asks and says no more than it must.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from failoverd.simulator.serve_faults import WireFault, status, strike
from tests.kill.instance import Life
from tests.kill.judge import judge
from tests.kill.kills import AFTERWARDS, Verdict
from tests.kill.naming import Call
from tests.kill.proxy import Answer, Hooks, gone, until_gone
from tests.kill.quiet import heard
from tests.kill.scene import NotReached, Scene, scene
from tests.kill.stories import STORIES, Story, lenient

EVERY = "*"
"""Instead of one request: every distinct one, once."""
ANSWERS = ("429", "500", "401", "403", "truncate", "garbage", "hang", "cut", "drip")
"""Once, instead of an answer."""
WRITES = ("409", "lost")
"""For writes alone: a conflict; or it is carried out, and the answer gets lost."""
LASTING = ("401 for 15s", "403 for 15s", "500 for 15s", "429 for 15s", "hang for 15s", "rotated", "410")
"""From a request on: everything is refused for so long; the token is replaced; every watch ends as too old."""
FAULTS = (*ANSWERS, *WRITES, *LASTING)
ROTATED_AFTER = 3.0
"""Seconds from the end of the old token until the kubeconfig names the new one."""
NEW_TOKEN = "the new one"
LONGEST = 1200.0
"""Seconds of the world until the move has ended, however much goes wrong on the way."""
BUSIEST = 30.0
"""Requests a second, on average; an undisturbed failover makes 10 (measured: 1,024 in 100 s)."""
LOUDEST = 12
"""Log lines for each spoilt answer, on top of the most that an undisturbed move writes."""
UNDISTURBED = 160
"""Log lines of the longest undisturbed move, rounded up (measured: 118)."""


def fitting(call: str) -> list[str]:
    """The faults that can be put in place of this call's answer."""
    name = call.rpartition(" | ")[2]
    writes = not name.startswith("GET")
    lasting = LASTING if name == "GET leases/failoverd" or (writes and "events" not in name) else ()
    return [*ANSWERS, *(WRITES if writes else ()), *lasting]


@dataclass(slots=True)
class Spoiler:
    """Spoils answers of one life."""

    fault: str
    call: str
    """A point, or EVERY."""
    scene: Scene
    life: Life | None = None
    armed: bool = False
    hit: list[str] = field(default_factory=list)
    """The points that were."""
    _until: float = 0.0
    _old: bool = False
    _watches: set[str] = field(default_factory=set)
    """Watches that are yet to learn that their version is too old."""

    def hooks(self) -> Hooks:
        """For the proxy."""
        return Hooks(instead=self._instead, spoil=self._spoil)

    def _instead(self, call: Call) -> Answer | None:
        if not self.armed:
            return None
        if call.query.get("watch"):
            return self._watch(call)
        if self.fault in LASTING:
            self._begin(call)
            if self.scene.now < self._until or self._revoked(call):
                return _answer(self.fault.partition(" ")[0], call)
            return None
        return None if self.fault == "lost" or not self._takes(call) else _answer(self.fault, call)

    def _spoil(self, call: Call) -> Answer | None:
        return _gone if self.armed and self.fault == "lost" and self._takes(call) else None

    def _takes(self, call: Call) -> bool:
        if self.call not in (EVERY, call.point) or call.point in self.hit or self.fault not in fitting(call.point):
            return False
        self.hit.append(call.point)
        return True

    def _begin(self, call: Call) -> None:
        """A fault that lasts begins once."""
        if self.hit or not self._takes(call):
            return
        assert self.life is not None
        if self.fault == "410":
            self._watches = {name for name in self.life.ledger.counts if name.startswith("WATCH")}
            self.life.proxy.cut_watches()
        elif self.fault == "rotated":
            self._old = True
            self._until = self.scene.now + ROTATED_AFTER
            self.life.ledger.tokens[NEW_TOKEN] = self.life.token
            asyncio.get_running_loop().call_later(ROTATED_AFTER, self.life.proxy.kubeconfig, NEW_TOKEN)
        else:
            self._until = self.scene.now + float(self.fault.partition(" for ")[2].removesuffix("s"))

    def _watch(self, call: Call) -> Answer | None:
        if call.name in self._watches:
            self._watches.discard(call.name)
            return _too_old
        if self.scene.now < self._until or self._revoked(call):
            return _answer(self.fault.partition(" ")[0], call)
        return None

    def _revoked(self, call: Call) -> bool:
        return self._old and call.front == "kube" and call.token != NEW_TOKEN


def _answer(fault: str, call: Call) -> Answer:
    if fault in ("rotated", "401"):
        fault = "401"
    if fault.isdigit():

        async def refuse(request: web.Request) -> web.StreamResponse:
            return status(int(fault), f"injected at {call.name}")

        return refuse
    return {"hang": until_gone, "drip": _drip, "cut": _gone}.get(fault) or _struck(fault)


def _struck(fault: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await strike(WireFault(kind=fault), request)

    return answer


async def _gone(request: web.Request) -> web.StreamResponse:
    return gone(request)


async def _too_old(request: web.Request) -> web.StreamResponse:
    return status(410, "too old resource version: injected", "Expired")


async def _drip(request: web.Request) -> web.StreamResponse:
    """A byte a second, for ever."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" ")
        await asyncio.sleep(1)
    return response


async def perform(story_name: str, call: str, fault: str) -> Verdict:
    """One run."""
    story = lenient(STORIES[story_name])
    verdict = Verdict(None, "")
    with tempfile.TemporaryDirectory(prefix="failoverd-spoil-") as name, heard() as log:
        async with scene(Path(name), story.setting) as on:
            spoiler = Spoiler(fault, call, on)
            try:
                await _play(on, story, spoiler)
            except NotReached as late:
                verdict.wrong.append(str(late))
            verdict.wrong += [*await judge(on, story), *_modest(on, spoiler, log)]
            verdict.reached = bool(spoiler.hit)
        verdict.log = log
    return verdict


async def _play(on: Scene, story: Story, spoiler: Spoiler) -> None:
    spoiler.armed = story.cold
    spoiler.life = await on.start(spoiler.hooks())
    await story.prelude(on)
    spoiler.armed = True
    await on.begin(story.trigger)

    def ended() -> bool:
        story.tend(on)
        return story.ended(on)

    await on.until(f"the end of {story.name}", ended, LONGEST)
    spoiler.armed = False  # what was begun is over; from here on all is well
    await on.rest(45 + AFTERWARDS)  # what failed is written again after half a minute
    await on.until(f"the end of {story.name} to last", ended)


def _modest(on: Scene, spoiler: Spoiler, log: list[str]) -> list[str]:
    """No more requests, no more words than bounds allow."""
    found = []
    ledger = on.lives[0].ledger
    rate = ledger.numbers / max(on.now, 1.0)
    if rate > BUSIEST:
        found.append(f"{rate:.0f} requests a second: {ledger.counts.most_common(3)}")
    bound = UNDISTURBED + LOUDEST * max(1, len(spoiler.hit))
    if len(log) > bound:
        found.append(f"{len(log)} log lines, {len(spoiler.hit)} answers were spoilt")
    return found
