"""Databases put back in the world: what its guards answer, and what becomes of the live database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from failoverd.core.points import Placed, Wanted
from failoverd.core.recall import Recall, Recalled
from failoverd.core.rules import Site
from failoverd.simulator.world_data import DATABASE, SHM, Content, Disk, File

if TYPE_CHECKING:
    from failoverd.simulator.world import World

Points = Callable[[int], Iterable[tuple[int, Content]]]
"""(when it was made in ms, the database then) of every point that counts and is of this epoch or a later one."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """One copy, as its guard meets it."""

    world: World
    key: tuple[str, str, Site]
    disk: Disk
    aside: str
    """Where displaced databases lie."""
    breaks: bool
    """Points that lie here do not open."""
    points: Points

    def answer(self, recall: Recall) -> Recalled:
        """What can be had."""
        if recall.at is None:
            there = any(path == self.aside for path, _ in self.disk.versions)
            return Recalled(recall=recall, databases=(DATABASE,) if there else ())
        made = sorted(at_ms for at_ms, _ in self.points(recall.since))
        before = [at_ms for at_ms in made if self._wall(at_ms) <= recall.at]
        times = ", ".join(f"{self._wall(at_ms):%H:%M:%S}" for at_ms in reversed(made))
        if not before:
            why = f"no point of {DATABASE} from {recall.at:%H:%M:%S} UTC or before; there are points of {times}"
            return Recalled(recall=recall, why=why)
        if self.breaks:
            text = f"the point of {DATABASE} of {self._wall(before[-1]):%H:%M:%S} UTC does not open"
            return Recalled(recall=recall, why=text)
        moment = self._wall(before[-1])
        return Recalled(recall=recall, databases=(DATABASE,), moment=moment, oldest=self._wall(made[0]))

    def put_back(self, wanted: Wanted, recall: Recall) -> Placed:
        """It becomes the live database; what was there is kept."""
        if wanted.lay:
            return Placed(move=wanted.move, done=False, laid=True, databases=(DATABASE,))
        content = self._meant(wanted, recall)
        if content is None:
            return Placed(move=wanted.move, done=False, why=f"{recall} is gone")
        if self.disk.writers:
            self.world.accuse("I1", f"{' '.join(self.key)}: databases were put back under a running app")
        old = self.disk.files.get(DATABASE)
        if old is not None:
            self.disk.versions.append((self.aside, old.content))
        self.disk.files[DATABASE] = File(content=content, changed_ms=self.world.time.now_ms)
        self.disk.files.pop(SHM, None)
        self.disk.torn = False
        truth = self.world.apps[self.key[0]]
        truth.rewinds += 1
        truth.pairs[self.key[1]].scan(self.key[2])
        self.world.tell(f"put back {' '.join(self.key)} {DATABASE}")
        aside = (self.aside,) if old is not None else ()
        return Placed(move=wanted.move, done=True, databases=(DATABASE,), displaced=aside)

    def _meant(self, wanted: Wanted, recall: Recall) -> Content | None:
        if recall.at is None:
            found = [content for path, content in self.disk.versions if path == self.aside]
        else:
            made = sorted(self.points(recall.since))
            found = [content for at_ms, content in made if wanted.as_of and self._wall(at_ms) <= wanted.as_of]
        return found[-1] if found else None

    def _wall(self, at_ms: int) -> datetime:
        return self.world.spec.beginning + timedelta(milliseconds=at_ms)
