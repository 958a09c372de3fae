"""A pandas frame, cut by rows, computed in parallel and joined again: `@parallel_chunks`.

The function takes a frame and gives a frame. So a call looks as it always did.

    python examples/data_frame.py
"""

import numpy as np
import pandas as pd

from procession import parallel_chunks


def make(trips: int) -> pd.DataFrame:
    """Trips between random places, in degrees."""
    rng = np.random.default_rng(3)
    places = {name: rng.uniform(-60, 60, trips) for name in ("lat", "lon", "to_lat", "to_lon")}
    return pd.DataFrame({**places, "vehicle": rng.choice(["bus", "tram", "ferry"], trips)})


@parallel_chunks(workers=2)
def with_distance(trips: pd.DataFrame) -> pd.DataFrame:
    """Add the length of each trip on the globe, in km, by the haversine formula."""
    lat, lon, to_lat, to_lon = (
        np.radians(trips[name]) for name in ("lat", "lon", "to_lat", "to_lon")
    )
    half = (
        np.sin((to_lat - lat) / 2) ** 2
        + np.cos(lat) * np.cos(to_lat) * np.sin((to_lon - lon) / 2) ** 2
    )
    return trips.assign(km=2 * 6371 * np.arcsin(np.sqrt(half)))


def add(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Sums of parts are added, not put in a row."""
    return pd.concat(parts).groupby(level=0).sum()


@parallel_chunks(workers=2, combine=add)
def totals(trips: pd.DataFrame) -> pd.DataFrame:
    """Trips and km of each kind of vehicle. A mean would not do: means of parts cannot be added."""
    grouped = trips.groupby("vehicle")["km"]
    return pd.DataFrame({"trips": grouped.size(), "km": grouped.sum()})


frame = make(200_000)
measured = with_distance(frame)
pd.testing.assert_frame_equal(measured, with_distance.local(frame))
print(f"{len(measured):,} trips, index and columns as before: {list(measured.columns)}")

summary = totals(measured)
summary["mean"] = summary["km"] / summary["trips"]
print(summary.round(1))
assert summary["trips"].sum() == len(frame)
