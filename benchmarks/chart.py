"""Charts as SVG: bars on a logarithmic scale, and lines over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

COLOURS = {"nginx": "#5b7083", "isthmus": "#0a7d4f", "portkey": "#c77700", "litellm": "#a3324a"}
_WIDTH, _LEFT, _RIGHT, _BAR, _GAP = 860, 230, 110, 14, 12


def _text(x: float, y: float, text: str, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _document(height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'font-family="sans-serif" font-size="12" fill="#222">'
    )
    ground = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>'
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"


def bars(title: str, groups: Sequence[tuple[str, Sequence[tuple[str, float, str]]]]) -> str:
    """Groups of bars, each (name, value above 0, label), all on one logarithmic axis.

    Raises ValueError where there is no value.
    """
    values = [value for _, rows in groups for _, value, _ in rows]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    unit = (_WIDTH - _LEFT - _RIGHT) / max(1, high - low)
    parts = [_text(16, 26, title, bold=True)]
    y = 50.0
    for name, rows in groups:
        parts.append(_text(16, y + _BAR * len(rows) / 2 + 4, name))
        for proxy, value, label in rows:
            width = max(1.0, (math.log10(value) - low) * unit)
            colour = COLOURS.get(proxy, "#888")
            parts.append(
                f'<rect x="{_LEFT}" y="{y:.1f}" width="{width:.1f}" height="{_BAR - 2}" '
                f'fill="{colour}"/>'
            )
            parts.append(_text(_LEFT + width + 5, y + _BAR - 4, f"{proxy} {label}"))
            y += _BAR
        y += _GAP
    return _document(y, parts)


def lines(title: str, panels: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """A panel for each series of (minutes, value), one below the other over the same time."""
    parts = [_text(16, 26, title, bold=True)]
    y, tall = 50.0, 110.0
    for name, points in panels:
        parts += _panel(name, points, y, tall)
        y += tall + 40
    return _document(y, parts)


def _panel(name: str, points: Sequence[tuple[float, float]], y: float, tall: float) -> list[str]:
    left, wide = 90.0, _WIDTH - 90.0 - 20
    longest = max((when for when, _ in points), default=0.0) or 1.0
    high = max((value for _, value in points), default=0.0) * 1.1 or 1.0
    places = " ".join(
        f"{left + wide * when / longest:.1f},{y + tall * (1 - value / high):.1f}"
        for when, value in points
    )
    return [
        _text(left, y - 6, name),
        f'<rect x="{left}" y="{y}" width="{wide}" height="{tall}" fill="none" stroke="#bbb"/>',
        f'<polyline points="{places}" fill="none" stroke="{COLOURS["isthmus"]}" stroke-width="1.5"/>',
        _text(left - 6, y + 10, f"{high:,.0f}", "end"),
        _text(left - 6, y + tall, "0", "end"),
        _text(left, y + tall + 14, "0"),
        _text(left + wide, y + tall + 14, f"{longest:.1f} min", "end"),
    ]
