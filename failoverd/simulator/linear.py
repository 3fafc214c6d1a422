"""What goes on steadily: from two states one period apart to the one any number of periods later.

Every leaf of a state either stays, is a moment that moves along with time, or counts on by the same number each
period. Where that is not so there is no answer (`NotSteady`), and nothing is guessed. The two states are compared
once, and what stays is not looked at again, however many moments are asked for.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from failoverd.core.again import replace

NOTHING = timedelta(0)
MS = timedelta(milliseconds=1)


class NotSteady(Exception):
    """The two states differ by more than time going on."""


class Course:
    """What something is now, and what it will be."""

    def __init__(self, now: Any) -> None:
        self.now = now

    def at(self, times: int) -> Any:
        """What it will be so many parts later."""
        del times
        return self.now


class _Moves(Course):
    def __init__(self, now: Any, each: Any) -> None:
        super().__init__(now)
        self.each = each

    def at(self, times: int) -> Any:
        return self.now + times * self.each


class _Stamp(Course):
    """A moment in the words of the systems that write it down."""

    def __init__(self, now: str, moment: datetime, each: timedelta) -> None:
        super().__init__(now)
        self.moment, self.each = moment, each

    def at(self, times: int) -> Any:
        return (self.moment + times * self.each).isoformat(timespec="microseconds")[:-6] + "Z"


class _Whole(Course):
    """Something of which parts move: what was one object stays one."""

    def __init__(self, now: Any, moving: dict[Any, Course]) -> None:
        super().__init__(now)
        self.moving = moving
        self.last, self.then = 0, now

    def at(self, times: int) -> Any:
        if times != self.last:
            self.last, self.then = times, self.made(times)
        return self.then

    def made(self, times: int) -> Any:
        return replace(self.now, **{name: one.at(times) for name, one in self.moving.items()})


class _Tuple(_Whole):
    def made(self, times: int) -> Any:
        made = list(self.now)
        for place, one in self.moving.items():
            made[place] = one.at(times)
        return tuple(made)


class _Dict(_Whole):
    def made(self, times: int) -> Any:
        made = dict(self.now)
        for key, one in self.moving.items():
            made[key] = one.at(times)
        return made


class Beyond:
    """Extrapolates by whole parts, so many `parts` of equal length having passed within `period`."""

    def __init__(self, period: timedelta, parts: int = 1) -> None:
        self._period, self._parts = period, parts
        self._each, self._period_ms = period // parts, period // MS
        self._known: dict[tuple[int, int], tuple[Any, Any, Course | None]] = {}

    def of(self, before: Any, after: Any) -> Course:
        """The course of what is `after`, and was `before` one `period` ago. Raises NotSteady."""
        return self._of(before, after) or Course(after)

    def _of(self, before: Any, after: Any) -> Course | None:
        """None for what stays. Raises NotSteady."""
        if before is after:
            return None
        kind: Any = type(after)
        if type(before) is not kind:
            raise NotSteady(f"{before!r} became {after!r}")
        if kind is timedelta or kind is datetime:
            return self._moment(before, after)
        if kind is tuple:
            if len(before) != len(after):
                raise NotSteady(f"{len(before)} became {len(after)}")
            moving = self._parted(before, after)
            return _Tuple(after, moving) if moving else None
        if kind is dict:
            return self._dict(before, after)
        if kind is int:
            return self._number(before, after)
        if is_dataclass(kind):
            return self._object(before, after)
        if before == after and (issubclass(kind, Enum) or kind in (str, bool, float, frozenset, set, bytes)):
            return None
        if kind is str:
            return self._stamp(before, after)
        raise NotSteady(f"{before!r} became {after!r}")

    def _object(self, before: Any, after: Any) -> Course | None:
        known = self._known.get((id(before), id(after)))
        if known is not None:  # what was one object stays one
            return known[2]
        moving: dict[Any, Course] = {}
        for name, is_ms in _names(type(after)):
            one, other = getattr(before, name), getattr(after, name)
            if one is not other:
                found = self._ms(one, other) if is_ms else self._of(one, other)
                if found is not None:
                    moving[name] = found
        made = _Whole(after, moving) if moving else None
        self._known[id(before), id(after)] = before, after, made  # kept alive, so that the ids stay theirs
        return made

    def _parted(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> dict[Any, Course]:
        moving: dict[Any, Course] = {}
        for place, other in enumerate(after):
            one = before[place]
            if one is not other:
                found = self._of(one, other)
                if found is not None:
                    moving[place] = found
        return moving

    def _dict(self, before: dict[Any, Any], after: dict[Any, Any]) -> Course | None:
        if list(before) != list(after):
            raise NotSteady(f"{list(before)} became {list(after)}")
        moving: dict[Any, Course] = {}
        for key, other in after.items():
            one = before[key]
            if one is not other:
                found = self._of(one, other)
                if found is not None:
                    moving[key] = found
        return _Dict(after, moving) if moving else None

    def _number(self, before: int, after: int) -> Course | None:
        if before == after:
            return None
        each, rest = divmod(after - before, self._parts)
        if rest:
            raise NotSteady(f"{before} became {after} in {self._parts} equal parts")
        return _Moves(after, each)

    def _moment(self, before: Any, after: Any) -> Course | None:
        gone = after - before
        if gone == NOTHING:
            return None
        if gone != self._period:
            raise NotSteady(f"{before} became {after}")
        return _Moves(after, self._each)

    def _ms(self, before: Any, after: Any) -> Course | None:
        """A moment in whole milliseconds."""
        if before == after or before is None or after is None:
            return self._of(before, after)
        if after - before != self._period_ms:
            raise NotSteady(f"{before} ms became {after} ms")
        return _Moves(after, self._period_ms // self._parts)

    def _stamp(self, before: str, after: str) -> Course:
        try:
            moment = datetime.fromisoformat(after)
            moves = self._moment(datetime.fromisoformat(before), moment)
        except ValueError:
            raise NotSteady(f"{before!r} became {after!r}") from None
        return _Stamp(after, moment, self._each if moves is not None else NOTHING)


_NAMES: dict[type, tuple[tuple[str, bool], ...]] = {}


def _names(kind: type) -> tuple[tuple[str, bool], ...]:
    """Every field, and whether it is a moment though a number: those are called `…_ms`; others count."""
    found = _NAMES.get(kind)
    if found is None:
        found = tuple([(field.name, field.name.endswith("_ms")) for field in fields(kind)])
        _NAMES[kind] = found
    return found
