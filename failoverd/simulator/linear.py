"""What goes on steadily: from two states one period apart to the one any number of periods later.

Every leaf of a state either stays, is a moment that moves along with time, or counts on by the same number each
period. Where that is not so there is no answer (`NotSteady`), and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

NOTHING = timedelta(0)
MS = timedelta(milliseconds=1)


class NotSteady(Exception):
    """The two states differ by more than time going on."""


class Beyond:
    """Extrapolates by `times` whole parts, where so many `parts` of equal length passed within `period`."""

    def __init__(self, period: timedelta, times: int, parts: int = 1) -> None:
        self._period, self._times, self._parts = period, times, parts
        self._known: dict[tuple[int, int], tuple[Any, Any, Any]] = {}

    def of(self, before: Any, after: Any) -> Any:
        """What `after` will be, when it was `before` one `period` ago. Raises NotSteady."""
        if before is after:
            return after
        kind = type(after)
        if type(before) is not kind:
            raise NotSteady(f"{before!r} became {after!r}")
        go = _BY_TYPE.get(kind)
        if go is not None:
            return go(self, before, after)
        if is_dataclass(kind):
            return self._object(before, after)
        if before == after and (issubclass(kind, Enum) or kind in (str, bool, float, frozenset, set, bytes)):
            return after
        if kind is str:
            return self._stamp(before, after)
        raise NotSteady(f"{before!r} became {after!r}")

    def _object(self, before: Any, after: Any) -> Any:
        known = self._known.get((id(before), id(after)))
        if known is not None:  # what was one object stays one
            return known[2]
        changed: dict[str, Any] = {}
        same = True
        for name, go in _names(type(after)):
            value = getattr(after, name)
            changed[name] = go(self, getattr(before, name), value)
            same = same and changed[name] is value
        made = after if same else type(after)(**changed)
        self._known[id(before), id(after)] = before, after, made  # kept alive, so that the ids stay theirs
        return made

    def _number(self, before: int, after: int) -> int:
        each, rest = divmod(after - before, self._parts)
        if rest:
            raise NotSteady(f"{before} became {after} in {self._parts} equal parts")
        return after + self._times * each

    def _moment(self, before: Any, after: Any) -> Any:
        gone = after - before
        if gone == NOTHING:
            return after
        if gone != self._period:
            raise NotSteady(f"{before} became {after}")
        return after + self._times * gone // self._parts

    def _ms(self, before: int | None, after: int | None) -> int | None:
        """A moment in whole milliseconds."""
        if before == after or before is None or after is None:
            return self.of(before, after)  # type: ignore[no-any-return]
        gone = after - before
        if gone != self._period // MS:
            raise NotSteady(f"{before} ms became {after} ms")
        return after + self._times * gone // self._parts

    def _stamp(self, before: str, after: str) -> str:
        """A moment in the words of the systems that write it down."""
        try:
            moment: datetime = self._moment(datetime.fromisoformat(before), datetime.fromisoformat(after))
        except ValueError:
            raise NotSteady(f"{before!r} became {after!r}") from None
        return moment.isoformat(timespec="microseconds")[:-6] + "Z"

    def _tuple(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(before) != len(after):
            raise NotSteady(f"{len(before)} became {len(after)}")
        made = tuple([self.of(one, other) for one, other in zip(before, after, strict=True)])
        return after if all(one is other for one, other in zip(made, after, strict=True)) else made

    def _dict(self, before: dict[Any, Any], after: dict[Any, Any]) -> dict[Any, Any]:
        if list(before) != list(after):
            raise NotSteady(f"{list(before)} became {list(after)}")
        made = {key: self.of(before[key], value) for key, value in after.items()}
        return after if all(made[key] is value for key, value in after.items()) else made


_BY_TYPE: dict[type, Callable[[Beyond, Any, Any], Any]] = {
    int: Beyond._number,
    timedelta: Beyond._moment,
    datetime: Beyond._moment,
    tuple: Beyond._tuple,
    dict: Beyond._dict,
}
_NAMES: dict[type, tuple[tuple[str, Callable[[Beyond, Any, Any], Any]], ...]] = {}


def _names(kind: type) -> tuple[tuple[str, Callable[[Beyond, Any, Any], Any]], ...]:
    """Every field with what extrapolates it; numbers called `…_ms` are moments, others count."""
    found = _NAMES.get(kind)
    if found is None:
        names = [field.name for field in fields(kind)]
        found = tuple((name, Beyond._ms if name.endswith("_ms") else Beyond.of) for name in names)
        _NAMES[kind] = found
    return found
