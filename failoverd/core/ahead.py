"""By how many transactions a returned side was ahead of the points that took its databases' place."""

from __future__ import annotations

from dataclasses import replace

from failoverd.core import databases
from failoverd.core.case import Case
from failoverd.core.counts import counted
from failoverd.core.memory import AppMemory, Kind, Move, Standing
from failoverd.core.points import Ahead
from failoverd.core.rules import Site

LOST = "lost there and kept"
"""What the evidence of a failover says of it, by which readers of the history find it."""


def lost(was: AppMemory, site: Site) -> Move | None:
    """The failover by which a side lost; None where it is not remembered."""
    last = next((move for move in reversed(was.moves) if move.source is site and move.target is not site), None)
    return last if last is not None and last.kind is Kind.FAILOVER else None


def told(case: Case, was: AppMemory) -> AppMemory:
    """`was`, the failover by which the other side lost saying what of it is known since its databases were put aside.

    It is in the history from the end of the take-back on, with the files that were displaced.
    """
    site = was.active.other
    move, texts = lost(was, site), []
    for volume in case.app.volumes:
        copy = was.volumes[volume.name].copies[site]
        if copy.standing is not Standing.TAKING_BACK or copy.aside is None:
            continue
        found = databases.placed(case, volume, site, f"back-{was.epoch}")
        if found is not None and found.ahead:
            texts.append(f"{volume.name} at {site}: {LOST}: {'; '.join(map(_text, found.ahead))}")
    if move is None or not set(texts) - set(move.evidence):
        return was
    more = replace(move, evidence=(*move.evidence, *(text for text in texts if text not in move.evidence)))
    return replace(was, moves=tuple(more if one is move else one for one in was.moves))


def _text(one: Ahead) -> str:
    if one.transactions is None:
        return f"of {one.database} an unknown number of transactions"
    return f"of {one.database} at most {counted(one.transactions, 'transaction')}"
