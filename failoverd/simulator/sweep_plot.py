"""Curves over one duration as SVG, each with its own scale: what goes up and what comes down, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 720, 400, 64
COLOURS = ("#b3261e", "#1a5fb4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What is drawn: one value for each x, None where there is none."""

    name: str
    values: tuple[float | None, ...]


def svg(label: str, xs: Sequence[float], curves: Sequence[Curve]) -> str:
    """A page-width drawing: the first curve's scale on the left, the second's on the right."""
    low, high = min(xs), max(xs)

    def across(x: float) -> float:
        return MARGIN + (x - low) / (high - low or 1) * (WIDTH - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _line([(MARGIN, HEIGHT - MARGIN), (WIDTH - MARGIN, HEIGHT - MARGIN)], "#888"),
        *(_text(across(x), HEIGHT - MARGIN + 20, f"{x:g} s", "#444") for x in xs),
        _text(WIDTH / 2, HEIGHT - 14, label, "#444"),
    ]
    for number, (curve, colour) in enumerate(zip(curves, COLOURS, strict=False)):
        top = max((value for value in curve.values if value is not None), default=0) * 1.1 or 1.0
        edge = WIDTH - MARGIN + 28 if number else MARGIN - 28

        def up(value: float, top: float = top) -> float:
            return HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN)

        points = [(across(x), up(y)) for x, y in zip(xs, curve.values, strict=True) if y is not None]
        parts += [_text(edge, up(top * part) + 4, f"{top * part:.3g}", colour) for part in (0, 0.25, 0.5, 0.75, 1)]
        parts += [_line(points, colour), *(_dot(x, y, colour) for x, y in points)]
        parts.append(_text(WIDTH * (0.75 if number else 0.25), 30, curve.name, colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'


def _text(x: float, y: float, text: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="{colour}">{escape(text)}</text>'
