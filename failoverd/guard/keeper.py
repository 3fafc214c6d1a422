"""One copy of a volume and what is done to it: what is wanted, how long that may be believed, what came of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from failoverd.core.filed import Filed, Trouble
from failoverd.core.model import Now
from failoverd.core.points import Duty, Finding, Observed, Placed, Wanted
from failoverd.core.recall import Recall
from failoverd.core.rules import Site
from failoverd.core.stock import Stock
from failoverd.guard import stock
from failoverd.guard.check import obstacles
from failoverd.guard.files import shown
from failoverd.guard.filing import FileMaker
from failoverd.guard.filing_proof import FileProver
from failoverd.guard.pace import Halt, Pace
from failoverd.guard.place import Placer
from failoverd.guard.points import Maker
from failoverd.guard.proof import Prover
from failoverd.guard.recall import Recaller

BELIEVED = timedelta(seconds=30)
"""So long after it was read an order may be acted on. A guard that is cut off from the cluster stops by itself."""
CHECK_EVERY = timedelta(seconds=60)
"""Between two looks at what would stand in the way of a start."""
STOCK_EVERY = timedelta(days=1)
"""Between two looks at all that is kept: it changes when something moves, and those looks come by themselves."""


class Keeper:
    """The guard of one copy. `order` may be called while `work` runs in another thread; `work` only one at a time."""

    def __init__(self, root: Path, site: Site, scratch: Path, mono: Callable[[], timedelta]) -> None:
        """Raises OSError where `root` cannot be opened, ValueError where `scratch` lies in it."""
        self.root = root
        self._site = site
        self._mono = mono
        self._order: tuple[Wanted, timedelta, datetime] | None = None
        self._stopped = False
        self._maker = Maker(root, site)
        self._prover = Prover(root, scratch)
        self._files = FileMaker(root, site)
        self._proven_files = FileProver(root)
        self._placer = Placer(root, site, scratch)
        self._recaller = Recaller(root, scratch, self._placer, self._prover.prove)
        self._asked = ""
        self._checked: timedelta | None = None
        self._since: tuple[Duty, int] | None = None
        self._findings: tuple[Finding, ...] = ()
        self._unfinished: tuple[str, ...] = ()
        self._stock: Stock | None = None
        self._stocked: timedelta | None = None
        # A lock on the folder itself writes nothing, and holds between pods of one node.
        self._lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        """Let go of the volume."""
        os.close(self._lock)

    def order(self, wanted: Wanted, date: datetime) -> None:
        """Take what is wanted, just read, and the API server's time of that moment."""
        self._order = (wanted, self._mono(), date)

    def stop(self) -> None:
        """Whatever is being done ends at the next point from which it can be taken up again."""
        self._stopped = True

    @property
    def wanted(self) -> Wanted | None:
        """What is wanted, None while nothing may be believed."""
        if self._order is None or self._stopped or self._mono() - self._order[1] > BELIEVED:
            return None
        return self._order[0]

    def now(self) -> Now:
        """This moment, by the API server's clock; only once there was an order."""
        assert self._order is not None
        mono = self._mono()
        return Now(mono, self._order[2] + (mono - self._order[1]))

    def work(self, wanted: Wanted) -> Observed:
        """One round of what is wanted. Raises Halt when that is no longer so."""

        def still() -> None:
            now = self.wanted
            if now is None:
                raise Halt("told to stop" if self._stopped else "what is wanted was not read for too long")
            if now != wanted:
                raise Halt("something else is wanted now")

        still()
        self._own()
        if (wanted.duty, wanted.epoch) != self._since:
            # What was looked at under other orders is looked at again.
            self._since, self._checked, self._stocked = (wanted.duty, wanted.epoch), None, None
        pace = Pace(still=still) if wanted.move else Pace(wanted.share, still, io_share=wanted.io_share)
        said = Observed(site=self._site, at=self.now().wall, duty=wanted.duty, epoch=wanted.epoch)
        if wanted.duty is not Duty.MAKE:
            self._recaller.forget()
        match wanted.duty:
            case Duty.MAKE:
                said = self._make(said, wanted, pace)
            case Duty.PROVE if wanted.recall is not None:
                said = self._put_back(said, wanted, wanted.recall, pace)
            case Duty.PROVE:
                said = self._prove(said, wanted, pace)
            case Duty.REST:
                pass
        pace()
        if wanted.duty is not Duty.REST and not wanted.move:  # while something moves everybody waits for us
            self._take_stock(pace)
        return replace(said, at=self.now().wall, stock=self._stock)

    def _take_stock(self, pace: Pace) -> None:
        """Look at what is kept: at first, after all that moved here (it rested meanwhile), and once a day."""
        now = self._mono()
        if self._stocked is None or now - self._stocked >= STOCK_EVERY:
            self._stock, self._stocked = stock.look(self.root, self.now().wall, pace), now

    def _own(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Halt(f"another guard works in {shown(self.root)}") from None

    def _make(self, said: Observed, wanted: Wanted, pace: Pace) -> Observed:
        self._maker.turn(wanted, self.now, pace)
        filed = _filed(lambda: self._files.turn(wanted, self.now, pace)) if wanted.files else None
        if self._time_to_check():
            with contextlib.suppress(OSError):  # tried again at the next look
                self._placer.tidy()
            self._unfinished = self._placer.unfinished()
        placed = None
        if self._unfinished:
            why = "begun and not finished; it is not gone on with where the app may be running"
            placed = Placed(move=self._unfinished[0], done=False, why=why)
        pace.share = pace.io_share = 1.0  # somebody waits for the answer
        recalled = self._recaller.look(wanted, self._maker.found, self._maker.kept, pace)
        said = replace(
            said, kept=self._maker.kept, sick=self._maker.sick, placed=placed, recalled=recalled, filed=filed
        )
        return replace(said, asked=wanted.ask)

    def _time_to_check(self) -> bool:
        now = self._mono()
        if self._checked is not None and now - self._checked < CHECK_EVERY:
            return False
        self._checked = now
        return True

    def _put_back(self, said: Observed, wanted: Wanted, recall: Recall, pace: Pace) -> Observed:
        if not wanted.move:  # the app is stopped: no question any more, and no order yet
            return said
        placed = self._placer.carry(wanted, lambda: self._recaller.plan(wanted, recall, pace), pace)
        return replace(said, placed=placed)

    def _prove(self, said: Observed, wanted: Wanted, pace: Pace) -> Observed:
        anew = wanted.ask not in ("", self._asked)
        fast = replace(wanted, share=pace.share, io_share=pace.io_share)
        self._prover.turn(fast, self.now, pace, anew)
        if self._time_to_check() or anew or wanted.move:
            self._findings = obstacles(self.root, wanted, pace)
        # A failover waits for nothing of theirs.
        files = wanted.files and not wanted.move
        filed = _filed(lambda: self._proven_files.turn(wanted, self.now, pace, anew)) if files else None
        self._asked = wanted.ask
        placed = self._placer.turn(fast, self._prover, pace) if wanted.move else None
        return replace(
            said,
            proven=self._prover.proven,
            sick=(*self._prover.sick, *(self._placer.sick if wanted.move else ())),
            findings=self._findings,
            placed=placed,
            filed=filed,
            asked=wanted.ask,
        )


def _filed(turn: Callable[[], Filed]) -> Filed:
    """What comes of files; what goes wrong with them is no reason to say nothing of databases. Raises Halt."""
    try:
        return turn()
    except OSError as error:
        return Filed(troubles=(Trouble(file="", text=f"unreadable: {shown(str(error))}"),))
