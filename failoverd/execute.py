"""From an action to its deed: a table with one handler for every kind of action.

The rule of this file: nothing leaves but a receipt. Everything that carries no fencing token of its own is preceded
by a look at our Lease: an instance that lost the lead a moment ago must not touch Syncthing or a power switch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_fixed,
)

from failoverd.core.counts import counted
from failoverd.core.memory import Version
from failoverd.core.model import (
    Action,
    DeletePod,
    Displaced,
    DropConnection,
    FenceOff,
    FenceOn,
    FetchVersions,
    FindVersions,
    Guest,
    GuestState,
    Now,
    Override,
    PatchApplier,
    PatchWorkload,
    Receipt,
    Revert,
    Scan,
    Scanned,
    ScanPoints,
    SetIgnores,
    SetRole,
    TaintNode,
    Unknown,
    UntaintNode,
    Verify,
    Want,
)
from failoverd.core.rules import App, Rules, Volume
from failoverd.core.stock import Stock, stock
from failoverd.hands import Fence, Half, Hands, Kept, Side, version
from failoverd.ports import Clock

LONGEST = timedelta(seconds=330)
"""No action may run for ever: its key keeps the same act from being begun again. A scan takes up to 300 s."""
TRIES = 2
"""Only for what the API server refused without doing it (busy, starting): the next tick asks again anyway."""

LISTED = 10
"""Displaced files that are named in the history, the newest; `failoverd displaced` names more."""
KEPT = 10_000
"""Of them that are named in the list that is kept, where its object has room for so many."""


class NotDone(Exception):
    """The action was not carried out; the text says why."""


class Fresh(Protocol):
    """Whether we lead, by a reading no older than a second."""

    async def fresh(self, now: Now) -> bool:
        """False also when it can't be told."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a handler that raised nothing."""

    detail: str = ""
    scanned: Scanned | None = None
    displaced: Displaced | None = None
    found: tuple[Version, ...] = ()


Handler = Callable[[Rules, Hands, Any], Awaitable[Done]]


async def _patch(rules: Rules, hands: Hands, act: PatchWorkload) -> Done:
    await _again_if_busy()(hands.patch, _app(rules, act.app), act.ops)
    return Done(detail="patched")


async def _patch_applier(_: Rules, hands: Hands, act: PatchApplier) -> Done:
    await _again_if_busy()(hands.patch_applier, act.applier, act.ops)
    return Done(detail="patched")


def _again_if_busy() -> AsyncRetrying:
    return AsyncRetrying(
        stop=stop_after_attempt(TRIES), wait=wait_fixed(0.3), reraise=True, retry=retry_if_exception(_refused_busy)
    )


async def _delete_pod(rules: Rules, hands: Hands, act: DeletePod) -> Done:
    return Done(detail=await hands.delete_pod(_app(rules, act.app).namespace, act.pod, act.uid))


async def _set_role(rules: Rules, hands: Hands, act: SetRole) -> Done:
    side = _side(hands, act)
    displaced, told = None, ""
    if act.keep is False:  # a take-back or a restore ends; with versioning off nobody can list them any more
        displaced, told = await _displaced(rules, hands, act, side)
    await side.set_type(act.role, act.keep)
    return Done(detail=f"{act.role}, read back{told}", displaced=displaced)


async def _displaced(rules: Rules, hands: Hands, act: SetRole, side: Side) -> tuple[Displaced | None, str]:
    """What lies in `.stversions`, and the words for it. A list that cannot be had, or kept, ends no take-back."""
    try:
        kept = sorted(await side.versions(), key=lambda one: one.at, reverse=True)
    except Exception as error:
        return None, f"; what was displaced could not be listed: {_line(error)}"
    new = [one for one in kept if act.since is None or not _before(one, act.since)]
    size = sum(one.size for one in kept)
    found = Displaced(
        files=len(kept),
        size=size,
        names=tuple(dict.fromkeys(one.path for one in new[:LISTED])),
        older_files=len(kept) - len(new),
        older_size=size - sum(one.size for one in new),
    )
    told = f"; kept in .stversions: {found}"
    try:
        app, volume = _volume(rules, act)
        await hands.keep_list(app.namespace, volume.copy(act.site).claim, _list(hands, kept))
    except Exception as error:
        told += f"; their list could not be kept: {_line(error)}"
    return found, told


def _before(one: Kept, since: datetime) -> bool:
    """Whether it was put aside before, which Syncthing says to the second; one of an unknown time was not."""
    try:
        return version(one).at < since.replace(microsecond=0)
    except ValueError:
        return False


def _list(hands: Hands, kept: Sequence[Kept]) -> Stock:
    at = hands.api_now()
    if at is None:
        raise NotDone("the API server's time is not known yet")
    return stock(map(version, kept), at, KEPT)


async def _find(_: Rules, hands: Hands, act: FindVersions) -> Done:
    found = await _side(hands, act).find(act.path, act.at)
    return (
        Done(detail=found) if isinstance(found, str) else Done(detail=f"{counted(len(found), 'file')}", found=found)
    )


async def _fetch(_: Rules, hands: Hands, act: FetchVersions) -> Done:
    return Done(detail=await _side(hands, act).fetch(act.files, unsure=act.unsure, leads=hands.leads))


async def _set_ignores(_: Rules, hands: Hands, act: SetIgnores) -> Done:
    await _side(hands, act).set_ignores(act.patterns)
    return Done(detail="set, read back")


async def _scan(_: Rules, hands: Hands, act: Scan) -> Done:
    at = hands.api_now()
    if at is None:
        raise NotDone("the API server's time is not known yet")
    scanned = await _side(hands, act).scan(at)
    errors = f", {counted(scanned.errors, 'error')}" if scanned.errors else ""
    return Done(detail=f"up to sequence {scanned.sequence}{errors}", scanned=scanned)


async def _scan_points(_: Rules, hands: Hands, act: ScanPoints) -> Done:
    await _side(hands, act).scan_points()
    return Done(detail="scanned")


async def _want(rules: Rules, hands: Hands, act: Want) -> Done:
    app, volume = _volume(rules, act)
    return Done(detail=await hands.order(app.namespace, volume.copy(act.site).claim, act.wanted, act.version))


async def _override(_: Rules, hands: Hands, act: Override) -> Done:
    await _side(hands, act).override()
    return Done(detail="asked for")


async def _revert(_: Rules, hands: Hands, act: Revert) -> Done:
    await _side(hands, act).revert()
    return Done(detail="asked for")


async def _drop_connection(_: Rules, hands: Hands, act: DropConnection) -> Done:
    return Done(detail=await _side(hands, act).drop_connection(act.started))


async def _verify(_: Rules, hands: Hands, act: Verify) -> Done:
    return Done(detail=await hands.verify(act.url))


async def _fence_off(_: Rules, hands: Hands, act: FenceOff) -> Done:
    return Done(detail=await _fence(hands, act.node).off())


async def _fence_on(_: Rules, hands: Hands, act: FenceOn) -> Done:
    return Done(detail=await _fence(hands, act.node).on())


async def _taint(_: Rules, hands: Hands, act: TaintNode) -> Done:
    async def off() -> None:
        # between this answer and the patch nothing may have been written to the node: it would have come back
        guest = await _fence(hands, act.node).state()
        if not isinstance(guest, Guest) or guest.state is not GuestState.STOPPED or guest.busy:
            said = guest.why if isinstance(guest, Unknown) else " ".join(filter(None, (guest.state, guest.busy)))
            raise NotDone(f"{act.node} is not tainted: its guest was to be stopped, and is: {said}")

    return Done(detail=await hands.taints.set(act.node, act.reason, off))


async def _untaint(_: Rules, hands: Hands, act: UntaintNode) -> Done:
    return Done(detail=await hands.taints.clear(act.node))


HANDLERS: Mapping[type[Action], Handler] = MappingProxyType(
    {
        PatchWorkload: _patch,
        PatchApplier: _patch_applier,
        DeletePod: _delete_pod,
        SetRole: _set_role,
        SetIgnores: _set_ignores,
        Scan: _scan,
        ScanPoints: _scan_points,
        Want: _want,
        Override: _override,
        Revert: _revert,
        FindVersions: _find,
        FetchVersions: _fetch,
        DropConnection: _drop_connection,
        Verify: _verify,
        FenceOff: _fence_off,
        FenceOn: _fence_on,
        TaintNode: _taint,
        UntaintNode: _untaint,
    }
)
TOKENED: frozenset[type[Action]] = frozenset({PatchWorkload})
"""Actions that fail by themselves when an old leader tries them: their patch tests epoch and state."""
HARMLESS: frozenset[type[Action]] = frozenset({Scan, ScanPoints})
"""Actions that change nothing, whoever asks for them: every Syncthing scans by itself as well."""


class WorldExecutor:
    """The Executor of the real world, for one set of rules."""

    def __init__(self, rules: Rules, clock: Clock, leadership: Fresh, hands: Hands) -> None:
        self._rules = rules
        self._clock = clock
        self._leadership = leadership
        self._hands = replace(hands, leads=self._leads)

    async def execute(self, action: Action) -> Receipt:
        """Do it and say what came of it. Never raises."""
        try:
            async with asyncio.timeout(LONGEST.total_seconds()):
                if type(action) not in TOKENED | HARMLESS and not await self._leads():
                    raise NotDone("not done: a look at our Lease does not show that we lead")
                began = self._clock.now().mono
                done = await HANDLERS[type(action)](self._rules, self._hands, action)
                took = self._clock.now().mono - began
        except TimeoutError as error:
            detail = f"given up after {LONGEST.total_seconds():g} s"
            return Receipt(action=action, ok=False, detail=detail, unsure=_unsure(action, error))
        except Exception as error:  # whatever an adapter raises, the loop lives on and the receipt says it
            return Receipt(action=action, ok=False, detail=_line(error), unsure=_unsure(action, error))
        scanned = replace(done.scanned, took=took) if done.scanned else None
        return Receipt(
            action=action,
            ok=True,
            detail=done.detail,
            scanned=scanned,
            displaced=done.displaced,
            found=done.found,
        )

    async def _leads(self) -> bool:
        return await self._leadership.fresh(self._clock.now())


class DryRun:
    """An Executor that does nothing, and says so."""

    async def execute(self, action: Action) -> Receipt:
        """A receipt that says what would have been done. Never raises."""
        return Receipt(action=action, ok=False, detail=f"dry run, not done: {action.key}")


def _app(rules: Rules, key: str) -> App:
    try:
        return rules.app(key)
    except KeyError:
        raise NotDone(f"{key} is not configured any more") from None


def _volume(rules: Rules, act: SetRole | Want) -> tuple[App, Volume]:
    app = _app(rules, act.app)
    volume = next((one for one in app.volumes if one.name == act.volume), None)
    if volume is None:
        raise NotDone(f"{act.app} has no volume '{act.volume}' in the configuration")
    return app, volume


OfASide = SetRole | SetIgnores | Scan | ScanPoints | Override | Revert | FindVersions | FetchVersions | DropConnection


def _side(hands: Hands, act: OfASide) -> Side:
    found = hands.sides.get((act.app, act.volume, act.site))
    if found is None:
        raise NotDone(f"{act.app} has no volume '{act.volume}' at {act.site} in the configuration")
    return found


def _fence(hands: Hands, node: str) -> Fence:
    found = hands.fences.get(node)
    if found is None:
        raise NotDone(f"{node} has no fence in the configuration")
    return found


def _unsure(action: Action, error: Exception) -> bool:
    """Whether a part of what is to be fetched may be there by now, and the rest not."""
    if not isinstance(action, FetchVersions):
        return False
    return action.unsure if isinstance(error, NotDone) else isinstance(error, Half | TimeoutError)


def _refused_busy(error: BaseException) -> bool:
    """Whether the API server said that it did nothing and that another try may help."""
    return getattr(error, "status", 0) in (429, 503)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    known = isinstance(error, NotDone) or type(error).__module__.startswith("failoverd.")
    return text if known else f"{type(error).__name__}: {text}"
