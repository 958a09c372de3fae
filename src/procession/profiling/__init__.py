"""`procession.profile()`: what users hold. The modules below work out and show what it recorded."""

from __future__ import annotations

import os
from pathlib import Path

from procession.observer import observers
from procession.profiling.figures import Recorded
from procession.system.pristine import perf_counter, time


class Profile(Recorded):
    """What the calls cost that are made while it is open. Made by `procession.profile`.

        with procession.profile() as p: ...
        print(p.summary())
        p.save("run.html")

    It records every map and every single call (`submit`, `background`, `isolated`, `Pool`) that
    any thread of this process makes inside the ``with`` block. Each is recorded to its own end,
    even if that comes after the block's. Calls that an item makes belong to that item. Several
    profiles may be open at once; each records for itself. A forked child records nothing.
    """

    began: float
    at: float
    ended: float | None

    def __init__(self) -> None:
        super().__init__()
        self._entered = False

    def __enter__(self) -> Profile:
        if self._entered:
            raise RuntimeError(
                "this profile was opened before, and a profile records one block only. Write "
                "'with procession.profile() as p:' for each block."
            )
        self._entered = True
        self.began, self.at = perf_counter(), time.time()
        observers.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        observers.remove(self)
        self.ended = perf_counter()

    def summary(self) -> str:
        """A table of where the time went, the slowest items, and the largest speed-up possible.

        It can be asked for at any time; inside the block it is about what has happened so far.

        Returns:
            Lines of text. Times have their unit; what each word means is in the guide on profiling.
        """
        from procession.profiling.summary import summary

        return summary(self)

    __str__ = summary

    def __repr__(self) -> str:
        state = "not opened" if not self._entered else "open" if self.ended is None else "closed"
        return f"<procession.Profile: {len(self._calls)} calls, {state}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was recorded to a file.

        Args:
            path: A name that ends in ``.html``, for a page with a timeline of every worker that
                loads nothing from anywhere; or in ``.json``, for a trace that
                https://ui.perfetto.dev and chrome://tracing open.

        Raises:
            ValueError: The name ends otherwise.
            OSError: The file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".html":
            from procession.profiling.exports import page

            text = page(self)
        elif suffix == ".json":
            from procession.profiling.exports import trace

            text = trace(self)
        else:
            raise ValueError(
                f"a profile cannot be saved as {os.fspath(path)!r}: the name's ending says what to "
                "write. Let it end in '.html' (a page with a timeline) or '.json' (a trace for "
                "Perfetto and Chrome)."
            )
        Path(path).write_text(text, encoding="utf-8")


def profile() -> Profile:
    """Record what decorated calls cost.

        with procession.profile() as p:
            sizes = measure(paths)
        print(p.summary())

    `Profile.summary` gives a table, after the block or inside it. `Profile.save` writes a page
    (``"run.html"``) or a trace (``"run.json"``). While no profile is open nothing is recorded, and
    nothing paid for it.
    """
    return Profile()
