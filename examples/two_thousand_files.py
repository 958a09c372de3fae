"""2,000 files, some of them bad: retries, outcomes, progress, and a second run that goes on.

Each file is a small table whose column is to be added up. Some are damaged, one makes its reader
crash, and reading some fails the first time, as a network drive would. The result of each is a line
of a journal. A second run reads that, and does only what is not done.

    python examples/two_thousand_files.py
"""

import csv
import json
import os
import tempfile
from pathlib import Path

from procession import parallel

FILES = 2_000


def prepare(folder: Path) -> list[Path]:
    """Write the files: number 500 is damaged, 1,200 deadly, and each 400th fails once."""
    paths = [folder / f"{number:04}.csv" for number in range(FILES)]
    for number, path in enumerate(paths):
        path.write_text(f"name,amount\na,{number}\nb,1\n")
    paths[500].write_text("name,amount\na,many\n")
    paths[1200].write_text("crash")
    return paths


@parallel(workers=2, retries=2, retry_on=(ConnectionError,), timeout=30)
def total(path: Path) -> int:
    """Add up the column of a file."""
    number = int(path.stem)
    if number % 400 == 399:
        seen = path.with_suffix(".seen")
        if not seen.exists():
            seen.touch()
            raise ConnectionError(f"{path.name} could not be reached just now")
    text = path.read_text()
    if text == "crash":
        os._exit(139)  # stands for a crash in a parser written in C
    return sum(int(row["amount"]) for row in csv.DictReader(text.splitlines()))


def read(journal: Path) -> dict[str, int]:
    """What earlier runs have done, by the files' names."""
    if not journal.exists():
        return {}
    return dict(json.loads(line) for line in journal.read_text().splitlines())


def run(paths: list[Path], journal: Path) -> list[str]:
    """Do what is not done; a line for each that failed."""
    done = read(journal)
    todo = [path for path in paths if path.name not in done]
    failed: list[str] = []
    with journal.open("a") as file:
        for outcome in total.with_options(progress="adding up").outcomes(todo):
            if outcome.ok:
                file.write(json.dumps([outcome.item.name, outcome.value]) + "\n")
            else:
                kind = type(outcome.error).__name__
                failed.append(f"{outcome.item.name}: {kind} after {outcome.attempts} attempt(s)")
    print(f"{len(todo):,} files to do, {len(failed)} failed, {len(read(journal)):,} done in all")
    return failed


with tempfile.TemporaryDirectory() as scratch:
    paths = prepare(Path(scratch))
    journal = Path(scratch) / "journal.jsonl"
    for line in run(paths, journal):
        print("  ", line)
    for path in (paths[500], paths[1200]):
        path.write_text("name,amount\nmended,0\n")
    assert run(paths, journal) == []
    print(f"sum of all: {sum(read(journal).values()):,}")
