"""Draw what `benchmarks/maps.py` printed: `python benchmarks/draw.py benchmarks/results/maps.txt`.

The picture stands beside the figures, with the ending ``.svg``. A bar is a time over that of the
plain loop; the scale is logarithmic.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

ROW = re.compile(r"^(.{24})\s*([\d.]+)ms\s+([\d.]+)ms\s+(\S+?)\s*([\d.]+)ms\s+[\d.]+$")
WIDTH, LEFT, BAR, GROUP = 760, 190, 14, 62
STYLE = """
text { font: 13px sans-serif; fill: #222 } .small { font-size: 11px }
.ours { fill: #2962ff } .peer { fill: #9e9e9e } .line { stroke: #e53935; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .peer { fill: #757575 } }
"""


def rows(text: str) -> list[tuple[str, float, float, str, float]]:
    """Workload, the loop's time, ours, the best peer and its time; in milliseconds."""
    found = [ROW.match(line) for line in text.splitlines()]
    return [
        (row[1].strip(), float(row[2]), float(row[3]), row[4], float(row[5]))
        for row in found
        if row
    ]


def draw(text: str) -> str:
    """The picture, as SVG."""
    table = [row for row in rows(text) if row[1] > 0.5]  # a loop of microseconds is no measure
    ratios = [time / loop for _, loop, ours, _, peer in table for time in (ours, peer)]
    low, high = math.log(0.8 * min(ratios)), math.log(max([2.0, *ratios]))

    def x(ratio: float) -> float:
        return LEFT + (math.log(ratio) - low) / (high - low) * (WIDTH - LEFT - 150)

    height = 30 + GROUP * len(table)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>Time over the plain loop's</title><style>{STYLE}</style>",
        f'<line class="line" x1="{x(1):.0f}" x2="{x(1):.0f}" y1="18" y2="{height}"/>',
        f'<text class="small" x="{x(1):.0f}" y="12" text-anchor="middle">the plain loop</text>',
    ]
    for number, (name, loop, ours, peer, theirs) in enumerate(table):
        top = 30 + number * GROUP
        parts.append(f'<text x="0" y="{top + 22}">{name}</text>')
        for offset, kind, label, time in (
            (0, "ours", "Procession", ours),
            (20, "peer", peer, theirs),
        ):
            end = x(time / loop)
            parts.append(
                f'<rect class="{kind}" x="{LEFT}" y="{top + offset}" height="{BAR}" '
                f'width="{max(1.0, end - LEFT):.0f}"/>'
                f'<text class="small" x="{end + 5:.0f}" y="{top + offset + 11}">'
                f"{label} {time / loop:.2f}</text>"
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    source = Path(sys.argv[1])
    source.with_suffix(".svg").write_text(draw(source.read_text()))
