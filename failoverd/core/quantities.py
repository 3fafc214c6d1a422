"""Amounts of resources: Kubernetes quantities to whole numbers, and back to what people read.

`cpu` is counted in thousandths of a core, everything else in its own unit; fractions are rounded up, as the
scheduler does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from failoverd.core.readings import Amounts

CPU = "cpu"
SIZES = ("memory", "ephemeral-storage", "hugepages-")
"""Resources that are bytes."""
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "P": "1e15"}
_SUFFIXES = _BINARY | {suffix: Decimal(value) for suffix, value in _DECIMAL.items()} | {"E": Decimal("1e18")}
"""As in apimachinery's resource.Quantity; `1e3` and `1E3` are exponents, `1E` alone is exa."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)


@lru_cache(maxsize=4096)
def quantity(resource: str, word: str) -> int:
    """The amount that a quantity such as `500m`, `1.5Gi` or `2` stands for. Raises ValueError."""
    suffix = next((one for one in (word[-2:], word[-1:]) if one in _SUFFIXES), "")
    number = word.removesuffix(suffix)
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"{word!r} is no quantity")
    value = Decimal(number) * _SUFFIXES.get(suffix, Decimal(1))
    return int((value * 1000 if resource == CPU else value).to_integral_value(rounding=ROUND_CEILING))


def amounts(given: Mapping[str, object]) -> Amounts:
    """A `requests`, `limits` or `allocatable` map. Raises ValueError."""
    for text in given.values():
        if not isinstance(text, str | int | float) or isinstance(text, bool):
            raise ValueError(f"{text!r} is no quantity")
    return tuple(sorted((name, quantity(name, str(text))) for name, text in given.items()))


def total(parts: Iterable[Amounts]) -> Amounts:
    """The sum, resource by resource."""
    summed: dict[str, int] = {}
    for part in parts:
        for name, amount in part:
            summed[name] = summed.get(name, 0) + amount
    return tuple(sorted(summed.items()))


def largest(parts: Iterable[Amounts]) -> Amounts:
    """The largest of each resource."""
    found: dict[str, int] = {}
    for part in parts:
        for name, amount in part:
            found[name] = max(found.get(name, 0), amount)
    return tuple(sorted(found.items()))


def said(resource: str, amount: int) -> str:
    """An amount for people: `500m`, `2`, `1.5Gi`."""
    if resource == CPU:
        return f"{amount // 1000}" if amount % 1000 == 0 else f"{amount}m"
    if resource.startswith(SIZES):
        for suffix, unit in reversed(_BINARY.items()):
            if abs(amount) >= unit:
                return f"{amount / int(unit):.4g}{suffix}"
    return str(amount)
