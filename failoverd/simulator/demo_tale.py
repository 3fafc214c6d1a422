"""What the demo tells: the cluster's own events, what the daemon says of itself, every chat message."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from failoverd.core.rules import Site
from failoverd.simulator.serve import Serve

Raw = dict[str, Any]
QUIET = ("folder ",)
"""Events of the world that a spectator need not see: the daemon tells them in its own words."""
WIDEST = 150
"""Columns of one of the daemon's lines; chat messages are shown whole."""


@dataclass(slots=True)
class Tale:
    """Watches world, daemon and chat, and writes down what is new."""

    served: Serve
    app: str
    url: str
    """The daemon's `/status`."""
    status: Raw = field(default_factory=dict)
    cut_at: float = 0.0
    noticed_at: float | None = None
    decided_at: float | None = None
    lost_ms: int = 0
    _told: int = 0
    _heard: int = 0
    _last: dict[str, str] = field(default_factory=dict)
    _http: aiohttp.ClientSession | None = None

    def seconds(self) -> float:
        """Time since the beginning."""
        return self.served.world.time.now_ms / 1000

    def write(self, text: str) -> None:
        """One line on the terminal."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def say(self, who: str, text: str, at: float | None = None) -> None:
        """One line of the story."""
        self.write(f"{self.seconds() if at is None else at:6.1f} s  {who:<7}  {text}")

    async def look(self) -> None:
        """Fetch what is new and tell it."""
        self.served.tick()
        await self._ask()
        world = self.served.world
        for at_ms, text in world.told[self._told :]:
            if not text.startswith(QUIET):
                self.say("cluster", text, at_ms / 1000)
        self._told = len(world.told)
        for at, _, text in self.served.chat.messages[self._heard :]:
            for line in text.splitlines():
                self.say("chat", line, at)
        self._heard = len(self.served.chat.messages)
        self._tell_daemon()

    async def close(self) -> None:
        """Close connections."""
        if self._http is not None:
            await self._http.close()

    async def _ask(self) -> None:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2))
        try:
            async with self._http.get(self.url) as answer:
                self.status = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return  # it is starting, or busy; the story has its own deadline

    def _tell_daemon(self) -> None:
        state = self._app()
        for name, node in (self.status.get("nodes") or {}).items():
            proof = " (proven)" if node["proven"] else ""
            self._once(
                f"verdict {name}",
                f"{name} is {node['verdict']}{proof}: {', '.join(node['evidence']) or 'nothing read yet'}",
            )
        objections = "; ".join(objection["text"] for objection in state.get("objections") or ())
        self._once("objections", f"does not move: {objections}" if objections else "")
        self._once("waiting", f"waits: {state['waiting']}" if state.get("waiting") else "")
        if self.cut_at and self.noticed_at is None and self.verdict("k3s-w1") != "UP":
            self.noticed_at = self.seconds()
        if self.cut_at and self.decided_at is None and self.moving():
            self.decided_at = self.seconds()

    def _once(self, what: str, text: str) -> None:
        """Tell it unless only its numbers have changed."""
        bare = re.sub(r"[\d.]+ s", "", text)
        if self._last.get(what, "") != bare:
            self._last[what] = bare
            if text:
                self.say("daemon", text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…")

    # ---------------------------------------------------------------- what the daemon believes

    def _app(self) -> Raw:
        found: Raw = (self.status.get("apps") or {}).get(self.app) or {}
        return found

    def _volume(self) -> Raw:
        found: Raw = (self._app().get("volumes") or {}).get("data") or {}
        return found

    def phase(self) -> str:
        """The app's phase."""
        return str(self._app().get("phase"))

    def active(self) -> str:
        """The app's active site."""
        return str(self._app().get("active"))

    def moving(self) -> bool:
        """Whether a move is in progress."""
        return self._app().get("move") is not None

    def standing(self, site: str) -> str:
        """Standing of the copy at `site`."""
        copies = self._volume().get("copies") or {}
        return str((copies.get(site) or {}).get("standing"))

    def settled(self, site: str) -> bool:
        """Whether the app is active at `site`, nothing moves, the standby is clean and its data age is known: before
        that it would not be moved."""
        other = "backup" if site == "primary" else "primary"
        clean = self.standing(other) == "clean" and self._volume().get("age_seconds") is not None
        return clean and self.phase() == "watching" and self.active() == site

    def verdict(self, node: str) -> str:
        """The daemon's judgement of a node."""
        return str(((self.status.get("nodes") or {}).get(node) or {}).get("verdict"))

    def moves(self) -> list[Raw]:
        """Finished moves, oldest first."""
        return list(reversed(self._app().get("moves") or []))

    # ---------------------------------------------------------------- what is true

    def lease_age(self, node: str) -> float:
        """Seconds since a node last renewed its lease."""
        now_ms = self.served.world.time.now_ms
        return (now_ms - self.served.world.nodes[node].renewal_ms(now_ms)) / 1000

    def really_lost_ms(self) -> int:
        """Milliseconds of writing that the live copy lacks."""
        lost = self.served.world.apps[self.app].lost("data", Site.BACKUP)
        return sum(part.until_ms - part.since_ms for part in lost)


def summary(tale: Tale) -> str:
    """What happened, in numbers."""
    lines = ["", "Summary"]
    for move in tale.moves():
        parts: Raw = dict(move["parts"])
        if move["kind"] == "failover" and tale.noticed_at is not None and tale.decided_at is not None:
            detect = tale.noticed_at - tale.cut_at
            rest = tale.decided_at - tale.noticed_at
            parts.pop("detect and decide", None)
            parts = {"detect": round(detect, 1), "decide": round(rest, 1), "fence": parts.pop("fence", 0.0), **parts}
        split = ", ".join(f"{name} {value:.1f} s" for name, value in parts.items())
        lines.append(
            f"  {move['kind']:<9} {move['source']} -> {move['target']}: {sum(parts.values()):.1f} s ({split})"
        )
        for loss in move["losses"]:
            age = "unknown" if loss["age_seconds"] is None else f"{loss['age_seconds']:.1f} s"
            lines.append(
                f"            data at risk, stated when deciding: {age} of {loss['volume']}; "
                f"really lost: {tale.lost_ms / 1000:.1f} s of writing"
            )
    lines.append("  afterwards the workload's spec is what it was before, and nothing of the old side was served")
    lines.append(f"  chat messages ({len(tale.served.chat.messages)}):")
    lines += [f"    {at:6.1f} s  {event:<7}  {text}" for at, event, text in tale.served.chat.messages]
    return "\n".join(lines)
