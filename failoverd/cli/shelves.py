"""What is known of everything kept at one copy of a volume, out of all that can tell.

Three can: its Syncthing, which lists versions only while it makes them; the list that the daemon writes when a
take-back or a restore ends; and the guard at the disk, where there is one, which knows the sets and points as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from failoverd.adapters.kubernetes import displaced
from failoverd.adapters.kubernetes.client import KubeError
from failoverd.adapters.kubernetes.guards import Unreadable
from failoverd.adapters.syncthing import Syncthing, SyncthingError
from failoverd.adapters.syncthing.access import sides
from failoverd.cli.cluster import Cluster
from failoverd.config.edges import Via
from failoverd.core import names
from failoverd.core.filed import Filed
from failoverd.core.memory import AppMemory, Kind, Move, Standing
from failoverd.core.model import Unknown
from failoverd.core.points import Duty, Observed
from failoverd.core.rules import SITES, App, Site, Volume
from failoverd.core.stock import Aside, Count, Lying, Stock, stock
from failoverd.hands import version

BY_SYNCTHING, BY_TAKE_BACK, BY_GUARD = "its Syncthing", "listed when a take-back or restore ended there", "its guard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A failover away from a site: what that site had alone was displaced by it."""

    move: str
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known of the failovers away from one site."""

    losses: tuple[Loss, ...] = ()
    """Newest last."""
    gap: str = ""
    """Why there may have been more; empty where every move is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """Something that added to the versions of one copy."""

    at: datetime
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What is known of one copy. `unknown` says why there may be more than is shown; empty where there is not."""

    volume: str
    site: Site
    files: tuple[Aside, ...] = ()
    counts: tuple[Count, ...] = ()
    named: Mapping[Lying, int] = field(default_factory=dict)
    """How many of each kind are in `files`, before anybody leaves some out."""
    source: Mapping[Lying, tuple[str, datetime]] = field(default_factory=dict)
    """By kind who said so, and when."""
    unknown: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()
    """Newest last."""
    span: tuple[datetime, datetime] | None = None
    """From when until when all of its databases can be put back as of; None where its guard does not say."""
    filed: Filed | None = None
    """What its guard says of points of ordinary files; None where it says nothing of them."""

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.volume} at {self.site}"

    def move_of(self, file: Aside) -> str:
        """The move by which it was displaced; empty where that is not known."""
        if file.move or file.kind is not Lying.VERSION:
            return file.move
        return next((one.move for one in reversed(self.losses) if one.began_at <= file.at), "")

    def with_kind(self, kind: Lying, said: Stock, how: str) -> Shelf:
        """With what `said` knows of one kind."""
        count, files = said.of(kind), said.named(kind)
        if not count.files:
            return self
        return replace(
            self,
            files=self.files + files,
            counts=(*self.counts, count),
            named={**self.named, kind: len(files)},
            source={**self.source, kind: (how, said.at)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was said of one copy; Unknown where it could not be asked, None where there is nothing to be said."""

    live: Stock | Unknown | None
    listed: Stock | Unknown | None
    guard: Stock | Unknown | None


async def shelves(cluster: Cluster, app: App, kubeconfig: Path | None) -> AsyncIterator[Shelf]:
    """What is known of every copy of `app`. Raises Stop, KubeError where not even Memory can be read."""
    memory = await cluster.memory()
    was, history = memory.apps.get(app.key), await cluster.history()
    via = cluster.config.settings.syncthing.via
    rules = replace(cluster.config.rules, apps=(app,))
    # A workstation has no way to a Service but through the API server.
    movers = sides(rules, cluster.client, direct=kubeconfig is None and via is not Via.PROXY)
    try:
        copies = [(volume, site) for volume in app.volumes for site in SITES]
        told = await asyncio.gather(
            *(_ask(cluster, app, volume, site, movers[app.key, volume.name, site]) for volume, site in copies)
        )
        for (volume, site), said in zip(copies, told, strict=True):
            past = past_of(app, site, was, history)
            shelf = put_together(volume, site, said, was, past, guarded=rules.guard is not None)
            guard = await _said(cluster, names.guard_object(app.namespace, volume.copy(site).claim))
            yield replace(shelf, span=_span(guard), filed=guard.filed if guard is not None else None)
    finally:
        for mover in movers.values():
            await mover.close()


async def _ask(cluster: Cluster, app: App, volume: Volume, site: Site, mover: Syncthing) -> Told:
    copy = (app.namespace, volume.copy(site).claim)
    guarded = cluster.config.rules.guard is not None
    live, listed, guard = await asyncio.gather(
        _live(mover, cluster.date),
        _listed(cluster, names.displaced_object(*copy)),
        _listed(cluster, names.guard_object(*copy)) if guarded else _nobody(),
    )
    return Told(live=live, listed=listed, guard=guard)


async def _said(cluster: Cluster, name: str) -> Observed | None:
    """What a guard at the active side said last; None where it has not."""
    if cluster.config.rules.guard is None:
        return None
    try:
        said = await displaced.said(cluster.client, cluster.namespace, name)
    except KubeError:  # it is said to be unknown already: its stock lies in the same object
        return None
    return said if said is not None and said.duty is Duty.MAKE else None


def _span(said: Observed | None) -> tuple[datetime, datetime] | None:
    """Since the oldest point of whichever database has the fewest, until each was last seen to be current."""
    if said is None or said.left_out:
        return None
    oldest = [one.oldest for one in said.kept if one.oldest is not None]
    if not oldest or len(oldest) < len(said.kept):
        return None
    return max(oldest), min(one.current_at for one in said.kept)


async def _nobody() -> None:
    return None


async def _live(mover: Syncthing, at: datetime) -> Stock | Unknown | None:
    try:
        found = await mover.listed()
        if found is None:
            return None
        return stock(map(version, found), at, len(found))
    except (SyncthingError, ValueError) as error:
        return Unknown(str(error))


async def _listed(cluster: Cluster, name: str) -> Stock | Unknown | None:
    try:
        return await displaced.read(cluster.client, cluster.namespace, name)
    except (KubeError, Unreadable) as error:
        return Unknown(str(error))


def past_of(app: App, site: Site, was: AppMemory | None, history: Sequence[Mapping[str, Any]]) -> Past:
    """The failovers away from `site`: of the history, and of Memory where that is ahead of it."""
    found: dict[str, Loss] = {}
    epochs: set[object] = set()
    for one in history:
        if one.get("app") != app.key or "epoch" not in one:
            continue
        epochs.add(one["epoch"])
        if (one.get("kind"), one.get("source")) == (Kind.FAILOVER.value, site.value):
            began = _moment(one.get("began_at"))
            if began is not None:
                found[str(one.get("id"))] = Loss(move=str(one.get("id")), began_at=began)
    for move in _moves(was):
        epochs.add(move.epoch)
        if move.kind is Kind.FAILOVER and move.source is site and not move.untouched:
            found[move.id] = Loss(move=move.id, began_at=move.began_at)
    unseen = set(range(1, (was.epoch if was else 0) + 1)) - epochs
    gap = f"of {len(unseen)} of its moves nothing is known any more" if unseen else ""
    return Past(losses=tuple(sorted(found.values(), key=lambda one: one.began_at)), gap=gap)


def _moves(was: AppMemory | None) -> tuple[Move, ...]:
    if was is None:
        return ()
    return (*was.moves, was.move) if was.move is not None else was.moves


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def put_together(
    volume: Volume, site: Site, told: Told, was: AppMemory | None, past: Past, *, guarded: bool
) -> Shelf:
    """The best that is known of one copy, and why it may not be all."""
    shelf = Shelf(volume=volume.name, site=site, losses=past.losses)
    found, how, unknown = _versions(volume, site, told, was, past)
    if found is not None:
        shelf = shelf.with_kind(Lying.VERSION, found, how)
    why = [unknown] if unknown else []
    if guarded:
        if isinstance(told.guard, Stock):
            shelf = shelf.with_kind(Lying.SET, told.guard, BY_GUARD).with_kind(Lying.POINT, told.guard, BY_GUARD)
        why += _doubts(told.guard, was)
    return replace(shelf, unknown=tuple(why))


def _versions(
    volume: Volume, site: Site, told: Told, was: AppMemory | None, past: Past
) -> tuple[Stock | None, str, str]:
    """The versions of one copy, who said so, and why there may be more; empty where there are no more."""
    if isinstance(told.live, Stock):
        return told.live, BY_SYNCTHING, ""
    found, how = _remembered(told)
    asked = f"; {told.live.why}" if isinstance(told.live, Unknown) else ""
    remembered = was.volumes.get(volume.name) if was else None
    standing = remembered.copies[site].standing if remembered else Standing.UNPROVEN
    if standing is Standing.TAKING_BACK or (standing is Standing.OUTDATED and asked):
        return found, how, f"its copy is {standing}, and its Syncthing did not say what it keeps{asked}"
    last = _last_added(volume, site, was, past)
    if found is not None:
        if last is not None and found.at < last.at:
            said = f"the newest list ({how}) is of {found.at:%Y-%m-%d %H:%M:%S} UTC"
            return found, how, f"{said}, and {last.how} after that: look in .stversions{asked}"
        return found, how, f"{found.trouble}: there may be more" if found.trouble else ""
    if isinstance(told.listed, Unknown):
        return None, "", f"{told.listed.why}{asked}"
    if last is not None or past.losses or past.gap:
        why = f"it lost {past.losses[-1].move}" if past.losses else past.gap or (last.how if last else "")
        return None, "", f"{why}, and no list of what was displaced is kept: look in .stversions{asked}"
    return None, "", ""  # no failover ever took the app away from here


def _last_added(volume: Volume, site: Site, was: AppMemory | None, past: Past) -> Added | None:
    """What last added to the versions of one copy, as far as is known: no list of before that is whole."""
    remembered = was.volumes.get(volume.name) if was else None
    found = [
        Added(at=at, how="a file was restored there")
        for move in _moves(was)
        if move.restore is not None and (move.restore.volume, move.source) == (volume.name, site)
        for name, at in move.marks
        if name == "stopped"
    ]
    back = remembered.taken_back.get(site) if remembered else None
    if back is not None:
        found.append(Added(at=back, how="it was taken back"))
    elif past.losses and not (remembered and remembered.copies[site].standing is Standing.OUTDATED):
        # a version that did not remember it took it back since then
        found.append(Added(at=past.losses[-1].began_at, how=f"it lost {past.losses[-1].move}"))
    return max(found, key=lambda one: one.at, default=None)


def _remembered(told: Told) -> tuple[Stock | None, str]:
    """The take-back's list, which names everything; the guard's, where it has since counted otherwise."""
    listed = told.listed if isinstance(told.listed, Stock) else None
    guard = told.guard if isinstance(told.guard, Stock) else None
    if guard is not None and (
        listed is None or (guard.at > listed.at and guard.of(Lying.VERSION) != listed.of(Lying.VERSION))
    ):
        return guard, BY_GUARD
    return listed, BY_TAKE_BACK


def _doubts(guard: Stock | Unknown | None, was: AppMemory | None) -> list[str]:
    """Why the guard's word on sets and points may not be all."""
    if isinstance(guard, Unknown):
        return [guard.why]
    if guard is None:
        return ["its guard has not said what it keeps"]
    ended = max((move.ended_at for move in was.moves if move.ended_at), default=None) if was else None
    if ended is not None and guard.at < ended:
        return [f"its guard last looked at {guard.at:%Y-%m-%d %H:%M} UTC, before the last move ended"]
    return [guard.trouble] if guard.trouble else []
