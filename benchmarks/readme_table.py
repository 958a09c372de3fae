"""Write the README's table anew from benchmarks/results: `python benchmarks/readme_table.py`.

`make figures` runs it last. `tests/test_pages.py` sees to it that the two agree.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "comparison.md"

ROWS = {
    "an item raises": "one raises an error: others that arrive",
    "an item's process is killed": "its process is killed",
    "two items hang, with a timeout of 5 s": "two hang, with a timeout of 5 s",
    "an item raises what does not unpickle": "one raises what does not unpickle",
    "processes 3 s after `kill -9` of the program": "processes 3 s after `kill -9` of the program",
    "8 arrays of 20 MB, sent": "8 arrays of 20 MB sent, times our {}",
    "100 items of 10 ms": "100 items of 10 ms, times our {}",
}
"""What the README has of the results, and what it calls it."""

TABLE = re.compile(r"(?<=\n)\| eight items, two workers .*?\n\n.*?\n\n", re.S)


def table(results: str) -> str:
    """The README's table, and the line below it that says where its figures come from."""
    machine, *parts = results.strip().split("\n\n")
    lines = [line.strip("| ").split(" | ") for part in parts for line in part.splitlines()]
    found = {row[0].partition(": ")[0]: row for row in lines}
    rows = [["eight items, two workers", *lines[0]], ["---"] * (len(lines[0]) + 1)]
    for name, called in ROWS.items():
        what, ours, *others = found[name]
        cells = [cell.removesuffix("\xa0×") for cell in others]
        ours = re.sub(r"^1\.0\s×$", "1", ours)
        rows.append([called.format(what.partition(": ")[2]), f"**{ours}**", *cells])
    said = f"Printed by `python benchmarks/comparison.py`. {machine}"
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{said}\n\n"


def rewritten(readme: str, results: str) -> str:
    """The README with the table as it is to be."""
    assert len(TABLE.findall(readme)) == 1
    return TABLE.sub(lambda _: table(results), readme)


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text(), RESULTS.read_text()))
