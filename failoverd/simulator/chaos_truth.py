"""The promises, judged by what is true in the world and never by what the daemon believes.

The life of an app is a row of reigns: a reign begins when a pod starts at another site than the one before. While it
lasts its copy holds what it held when it began and all that its own pods wrote (I1); where it begins, what the copy
before it had and this one lacks must be nothing (planned) or no more than was stated (I4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from failoverd.core.memory import AppMemory, Move
from failoverd.core.rules import SITES, Mode, Require, Site
from failoverd.simulator.world import World
from failoverd.simulator.world_app import AppTruth
from failoverd.simulator.world_data import DATABASE, Content, Disk, Stretch, missing
from failoverd.simulator.world_render import notes


@dataclass(slots=True, kw_only=True)
class Reign:
    """Since when the app has been living where, and what its copies held when that began."""

    site: Site
    since_ms: int
    pods: set[str]
    inherited: dict[str, Content]
    """By volume: what its predecessors wrote."""
    accused: set[str] = field(default_factory=set)
    rewinds: int = 0
    """How often its databases had been put back, as somebody asked, when that was looked at last."""


@dataclass(slots=True)
class Truth:
    """Watches one world. `look` as often as something may have happened."""

    world: World
    reigns: dict[str, Reign] = field(default_factory=dict)
    excused: set[str] = field(default_factory=set)
    """Faults so far that no daemon can see through, by name: a lying hypervisor, a hand that takes the hold away."""

    def look(self) -> None:
        """Judge this moment."""
        for key, truth in self.world.apps.items():
            began = self._began(key, truth)
            if began is not None:
                self._reign(key, truth, began)
            reign = self.reigns.get(key)
            if reign is not None:
                self._rewound(truth, reign)
                self._keep(key, truth, reign)

    def _rewound(self, truth: AppTruth, reign: Reign) -> None:
        """Databases that were put back are as good as inherited: what they lack is what nobody wanted."""
        if reign.rewinds == truth.rewinds:
            return
        reign.rewinds, reign.since_ms, reign.pods = truth.rewinds, self.world.time.now_ms, set()
        reign.pods = _began_since(truth, reign.site, reign.since_ms)
        reign.inherited = {name: _without(_content(truth, name, reign.site), reign.pods) for name in truth.pairs}

    def _began(self, key: str, truth: AppTruth) -> Site | None:
        """The site at which a pod has started that was not known yet, unless the reign is there already."""
        reign = self.reigns.get(key)
        found = None
        for site in SITES:
            pods = truth.writers(site)
            if reign is not None and site is reign.site:
                reign.pods |= _began_since(truth, site, reign.since_ms)
            elif pods and not (reign and not _began_since(truth, site, reign.since_ms + 1)):
                found = site
        return found

    def _reign(self, key: str, truth: AppTruth, site: Site) -> None:
        before = self.reigns.get(key)
        since_ms = max(writer.since_ms for writer in _disk(truth, site).writers.values())
        pods = _began_since(truth, site, since_ms)
        inherited = {name: _without(_content(truth, name, site), pods) for name in truth.pairs}
        self.reigns[key] = Reign(site=site, since_ms=since_ms, pods=pods, inherited=inherited, rewinds=truth.rewinds)
        if before is None:
            return
        move = self._move(key, site)
        if move is None:
            if not self.excused & {"strip_hold", "lose_memory"}:
                self.world.accuse("I1", f"{key} runs at {site} though no move led there")
            return
        for name in truth.pairs:
            old = _content(truth, name, before.site)
            extra = _seconds(missing(old, inherited[name]), truth)
            if extra and not move.forced:
                self.world.accuse(
                    "I1", f"{key} {name}: {extra:g} s of writing at {site} that {before.site} never had"
                )
            self._loss(key, name, move, truth, missing(inherited[name], old))

    def _move(self, key: str, site: Site) -> Move | None:
        memory = self.world.stored.memory
        was = memory.apps.get(key) if memory else None
        if was is None:
            return None
        moves = [*was.moves, *([was.move] if was.move else [])]
        return next((move for move in reversed(moves) if move.target is site), None)

    def _loss(self, key: str, volume: str, move: Move, truth: AppTruth, parts: tuple[Stretch, ...]) -> None:
        until = None
        if move.last_write_at is not None and truth.app.require is Require.SILENCE:
            # without proof the loss is stated up to the last sign of life; what came after is an overrun
            until = self._ms(move.last_write_at)
        lost = _seconds(parts, truth, until)
        if move.kind.planned:
            if lost:
                self.world.accuse("I4", f"{key} {volume}: a planned move lost {lost:g} s of writing")
            return
        stated = next((loss.age_seconds for loss in move.losses if loss.volume == volume), None)
        if move.forced or self.excused & {"guest_lies"}:
            return
        if stated is None:
            self.world.accuse("I4", f"{key} {volume}: moved unforced with an unknown data age")
        elif lost > stated:
            self.world.accuse("I4", f"{key} {volume}: {lost:g} s of writing lost, {stated:g} s stated")

    def _ms(self, at: datetime) -> int:
        return (at - self.world.spec.beginning) // timedelta(milliseconds=1)

    def _keep(self, key: str, truth: AppTruth, reign: Reign) -> None:
        for name, pair in truth.pairs.items():
            if name in reign.accused:
                continue
            disk = pair.sides[reign.site].disk
            content = _content(truth, name, reign.site)
            foreign = _without(content, reign.pods)
            own = tuple(part for part in disk.ended if part.pod in reign.pods)
            if foreign != reign.inherited[name]:
                reign.accused.add(name)
                self.world.accuse(
                    "I1", f"{key} {name}: what others wrote has changed in the live copy at {reign.site}"
                )
            elif missing(content, own):
                reign.accused.add(name)
                gone = _seconds(missing(content, own), truth)
                self.world.accuse("I1", f"{key} {name}: {gone:g} s of writing vanished from the live copy")

    # ---------------------------------------------------------------- at the end

    def at_rest(self) -> None:
        """Everything has been well for long: every app is whole, in one place, and as Git would have it."""
        memory = self.world.stored.memory
        if self.world.spec.rules.mode is Mode.OBSERVE:
            return
        for key, truth in self.world.apps.items():
            was = memory.apps.get(key) if memory else None
            for promise, text in self._unrest(key, truth, was):
                self.world.accuse(promise, text)

    def _unrest(self, key: str, truth: AppTruth, was: AppMemory | None) -> Iterator[tuple[str, str]]:
        sites = [site for site in Site if truth.writers(site)]
        # a move whose memory is gone: where the app was going to is for a person to say, and until then it is stopped
        waits = was is not None and was.phase == "frozen" and "lose_memory" in self.excused
        if len(sites) != 1 and not (waits and not sites):
            yield "I7", f"{key} runs at {' and '.join(sites) or 'no site'} long after everything was mended"
        if was is None:
            yield "I7", f"{key} is not remembered"
            return
        frozen = was.phase == "frozen" or (was.phase == "adopting" and "lose_memory" in self.excused)
        if not (frozen or was.phase == "watching") or was.move is not None:
            yield "I7", f"{key} is still {was.phase}"
        if frozen and not self.excused & {"lose_memory", "set_type", "wipe_config"}:
            yield "I7", f"{key} is frozen though nothing contradicts: {was.frozen_why}"
        if not frozen and sites and was.active is not sites[0]:
            yield "I1", f"{key} runs at {sites[0]}, remembered is {was.active}"
        if not frozen:
            yield from self._copies(key, was)
        home = was.active is truth.app.preferred and not frozen
        if home and truth.raw["spec"] != truth.git["spec"] and (truth.flux or truth.applier):
            yield "I8", f"{key} is home and differs from Git"
        marks = [
            mark for mark in truth.raw["metadata"].get("annotations", {}) if "failoverd" in mark or "fluxcd" in mark
        ]
        if home and marks:
            yield "I8", f"{key} is home and still carries {', '.join(marks)}"
        if home and (applier := truth.applier) is not None:
            left = [mark for mark in notes(applier.raw) if "failoverd" in mark or "fluxcd" in mark]
            if left or applier.suspended or applier.raw["spec"] != applier.git:
                what = f"{key} is home, and its {applier.which.kind} is not as in Git"
                yield "I8", f"{what}: {', '.join(left) or 'its spec'}"
        yield from self._displaced(key, truth)

    @staticmethod
    def _copies(key: str, was: AppMemory) -> Iterator[tuple[str, str]]:
        for name, volume in was.volumes.items():
            standing = volume.copies[was.active.other].standing
            if standing != "clean":
                yield "I7", f"{key} {name}: the standby is still {standing}"

    @staticmethod
    def _displaced(key: str, truth: AppTruth) -> Iterator[tuple[str, str]]:
        """I10: whatever was ever written is in some file or version of either side."""
        for name, pair in truth.pairs.items():
            held: dict[str, int] = {}
            for side in pair.sides.values():
                side.disk.settle()
                contents = [file.content for file in side.disk.files.values()]
                for content in [*contents, *(content for _, content in side.disk.versions)]:
                    for part in content:
                        held[part.pod] = max(held.get(part.pod, -1), part.until_ms)
            for side in pair.sides.values():
                for part in side.disk.written():
                    if held.get(part.pod, -1) < part.until_ms:
                        yield "I10", f"{key} {name}: {part.pod} wrote until {part.until_ms} ms, and nobody holds it"


def _disk(truth: AppTruth, site: Site) -> Disk:
    """The first volume's copy: every pod of the app writes to all of them."""
    return next(iter(truth.pairs.values())).sides[site].disk


def _began_since(truth: AppTruth, site: Site, since_ms: int) -> set[str]:
    """Every pod that began to write at `site` at `since_ms` or later."""
    return {part.pod for part in _disk(truth, site).written() if part.since_ms >= since_ms}


def _content(truth: AppTruth, volume: str, site: Site) -> Content:
    file = truth.pairs[volume].sides[site].disk.files.get(DATABASE)
    return file.content if file else ()


def _without(content: Content, pods: set[str]) -> Content:
    return tuple(part for part in content if part.pod not in pods)


def _seconds(parts: tuple[Stretch, ...], truth: AppTruth, until_ms: int | None = None) -> float:
    """From the first write that is missing to the last, of the worst stretch."""
    worst = 0
    for part in parts:
        end = part.until_ms if until_ms is None else min(part.until_ms, until_ms)
        # a container that was started again writes in a rhythm of its own, and not at all in between
        firsts = [
            one.since_ms if one.since_ms >= part.since_ms else truth.rhythm.next_write_ms(one.since_ms, part.since_ms)
            for side in next(iter(truth.pairs.values())).sides.values()
            for one in side.disk.written()
            if one.pod == part.pod and one.until_ms > part.since_ms
        ]
        first = min(firsts, default=part.since_ms)
        if first < end:
            worst = max(worst, end - first)
    return worst / 1000
