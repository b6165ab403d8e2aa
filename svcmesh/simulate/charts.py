"""Small line charts as SVG: axes with round numbers, a few lines, a legend.

Written by hand because that is all a run needs; a plotting library is larger than this program.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

Point = tuple[float, float]

WIDTH: Final = 760
HEIGHT: Final = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 52, 56
_COLORS: Final = ("#1f5fa8", "#c4501b", "#3a7d34", "#7a3f98", "#8a6d00", "#5b5b5b")
_FONT: Final = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True, slots=True)
class Line:
    """Points in ascending x, drawn as a line or, with `is_step`, held until the next."""

    label: str
    points: Sequence[Point]
    is_step: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the x axis to shade, for instance while a fault lasts."""

    label: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. `y_max` None fits the points; `note` stands in place of absent ones."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    spans: Sequence[Span] = ()
    y_max: float | None = None
    note: str = ""

    def to_svg(self) -> str:
        """Draw it. Equal charts give equal text."""
        points = [point for line in self.lines for point in line.points]
        x_top = max([x for x, _ in points] + [span.end for span in self.spans], default=1.0) or 1.0
        y_top = self.y_max or max((y for _, y in points), default=1.0) or 1.0
        x_ticks, y_ticks = _ticks(x_top), _ticks(y_top)
        x_top = max(x_top, x_ticks[-1]) if self.y_max is None else x_top
        y_top = max(y_top, y_ticks[-1])
        scale = _Scale(x_top, y_top)
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "
            f"width='{WIDTH}' height='{HEIGHT}' {_FONT} font-size='12' fill='#222'>",
            f"<rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>",
            f"<text x='{_LEFT}' y='20' font-size='15' font-weight='600'>{escape(self.title)}"
            "</text>",
            *self._draw_spans(scale),
            *self._draw_axes(scale, x_ticks, y_ticks),
            *(
                _draw_line(line, scale, _COLORS[number % len(_COLORS)])
                for number, line in enumerate(self.lines)
                if line.points
            ),
            *self._draw_legend(),
        ]
        if not points:
            middle = (_LEFT + WIDTH - _RIGHT) / 2
            parts.append(
                f"<text x='{middle:g}' y='{HEIGHT / 2:g}' text-anchor='middle' fill='#777'>"
                f"{escape(self.note)}</text>"
            )
        return "\n".join([*parts, "</svg>", ""])

    def _draw_spans(self, scale: "_Scale") -> list[str]:
        bottom = HEIGHT - _BOTTOM
        return [
            f"<rect x='{scale.x(s.begin):.1f}' y='{_TOP}' height='{bottom - _TOP}' "
            f"width='{max(1.0, scale.x(s.end) - scale.x(s.begin)):.1f}' fill='#e9e4d8'>"
            f"<title>{escape(s.label)}</title></rect>"
            for s in self.spans
        ]

    def _draw_axes(
        self, scale: "_Scale", x_ticks: Sequence[float], y_ticks: Sequence[float]
    ) -> list[str]:
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for tick in y_ticks:
            y = scale.y(tick)
            parts += [
                f"<line x1='{_LEFT}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>",
                f"<text x='{_LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{tick:g}</text>",
            ]
        for tick in x_ticks:
            x = scale.x(tick)
            parts += [
                f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{bottom}' y2='{bottom + 5}' stroke='#444'/>",
                f"<text x='{x:.1f}' y='{bottom + 19}' text-anchor='middle'>{tick:g}</text>",
            ]
        middle_y = (_TOP + bottom) / 2
        return [
            *parts,
            f"<line x1='{_LEFT}' x2='{right}' y1='{bottom}' y2='{bottom}' stroke='#444'/>",
            f"<text x='{(_LEFT + right) / 2:g}' y='{HEIGHT - 14}' text-anchor='middle'>"
            f"{escape(self.x_label)}</text>",
            f"<text x='18' y='{middle_y:g}' text-anchor='middle' "
            f"transform='rotate(-90 18 {middle_y:g})'>{escape(self.y_label)}</text>",
        ]

    def _draw_legend(self) -> list[str]:
        parts: list[str] = []
        x = float(_LEFT)
        shown = [line for line in self.lines if line.label]
        for number, line in enumerate(shown):
            color = _COLORS[number % len(_COLORS)]
            parts.append(
                f"<rect x='{x:g}' y='31' width='14' height='4' fill='{color}'/>"
                f"<text x='{x + 20:g}' y='37'>{escape(line.label)}</text>"
            )
            x += 34 + 6.6 * len(line.label)
        if self.spans:
            label = self.spans[0].label
            parts.append(
                f"<rect x='{x:g}' y='27' width='14' height='11' fill='#e9e4d8'/>"
                f"<text x='{x + 20:g}' y='37'>{escape(label)}</text>"
            )
        return parts


class _Scale:
    """From values to places on the picture."""

    def __init__(self, x_top: float, y_top: float) -> None:
        self._x_unit = (WIDTH - _LEFT - _RIGHT) / x_top
        self._y_unit = (HEIGHT - _TOP - _BOTTOM) / y_top

    def x(self, value: float) -> float:
        return _LEFT + value * self._x_unit

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value * self._y_unit


def _draw_line(line: Line, scale: _Scale, color: str) -> str:
    path: list[str] = []
    for number, (x, y) in enumerate(_thinned(line.points)):
        place = f"{scale.x(x):.1f} {scale.y(y):.1f}"
        if number == 0:
            path.append(f"M{place}")
        elif line.is_step:
            path.append(f"H{scale.x(x):.1f}V{scale.y(y):.1f}")
        else:
            path.append(f"L{place}")
    return f"<path d='{''.join(path)}' fill='none' stroke='{color}' stroke-width='1.8'/>"


def _thinned(points: Sequence[Point], most: int = 2000) -> list[Point]:
    """Without the inside of level stretches, and not more points than can be seen."""
    kept = [
        point
        for number, point in enumerate(points)
        if number in (0, len(points) - 1)
        or not points[number - 1][1] == point[1] == points[number + 1][1]
    ]
    step = len(kept) // most + 1
    return kept[::step] + ([] if (len(kept) - 1) % step == 0 else kept[-1:])


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 up to about `top`, four to eight of them."""
    magnitude = 10.0 ** floor(log10(top))
    step = next(s * magnitude for s in (0.2, 0.25, 0.5, 1.0, 2.0) if top / (s * magnitude) <= 6)
    return [round(step * number, 10) for number in range(int(top / step + 1e-9) + 1)]
