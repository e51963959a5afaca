"""When money is spent: hours of the day, days of the week, paydays and seasons."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.simulation.terminals import CodeArray, FloatArray

SECONDS_PER_DAY: Final = 86_400
PAYDAYS: Final = (1, 10, 15, 25)
"""Days of the month on which salaries arrive."""
_PAYDAY_DAYS = 3
_PAYDAY_FACTOR = 1.4
_DECEMBER_FACTOR = 1.2
_QUANTILES = 4096


@dataclass(frozen=True, slots=True)
class Profile:
    """A habit: how likely each hour and each weekday is.

    Attributes:
        share: Share of the customers that live like this.
        peaks: ``(hour, standard deviation in hours, weight)`` of each busy time; times past
            midnight belong to the early hours of the same day.
        weekdays: Relative activity from Monday to Sunday.
    """

    name: str
    share: float
    peaks: tuple[tuple[float, float, float], ...]
    weekdays: tuple[float, ...]


PROFILES: Final = (
    Profile("commuter", 0.40, ((8, 0.8, 0.2), (12.5, 0.8, 0.25), (18.5, 1.5, 0.55)),
            (0.95, 0.95, 1.0, 1.05, 1.2, 1.1, 0.75)),
    Profile("daytime", 0.30, ((10.5, 1.5, 0.55), (15.5, 2.0, 0.45)),
            (1.05, 1.05, 1.05, 1.05, 1.1, 1.0, 0.7)),
    Profile("evening", 0.22, ((13.5, 2.0, 0.3), (20.5, 1.8, 0.7)),
            (0.8, 0.8, 0.85, 1.0, 1.3, 1.35, 0.9)),
    Profile("night", 0.08, ((2.0, 2.0, 0.35), (16.0, 2.5, 0.35), (23.0, 1.5, 0.3)),
            (1.0, 0.9, 0.9, 1.0, 1.1, 1.1, 1.0)),
)  # fmt: skip


def time_table() -> FloatArray:
    """Return, per profile, the times of day in seconds at evenly spaced quantiles.

    Shape:
        ``(n_profiles, 4097)``; each row ascends from 0 to 86,400.
    """
    return np.stack([_quantiles(profile) for profile in PROFILES])


def draw_seconds(
    rng: np.random.Generator, table: FloatArray, profile: CodeArray
) -> NDArray[np.int64]:
    """Return a time of day for each given profile, in whole seconds from midnight."""
    position = rng.random(len(profile)) * _QUANTILES
    below = position.astype(np.intp)
    low, high = table[profile, below], table[profile, below + 1]
    seconds = (low + (position - below) * (high - low)).astype(np.int64)
    return np.minimum(seconds, SECONDS_PER_DAY - 1)


def activity(day: date) -> FloatArray:
    """Return the relative activity of one day for each profile and payday.

    Shape:
        ``(n_profiles, n_paydays)``, dimensionless, about 1.
    """
    weekday = np.array([profile.weekdays[day.weekday()] for profile in PROFILES])
    payday = np.array([_payday_factor(day, payday) for payday in PAYDAYS])
    season = _DECEMBER_FACTOR if day.month == 12 else 1.0
    combined: FloatArray = season * np.outer(weekday, payday)
    return combined


def _quantiles(profile: Profile) -> FloatArray:
    """Invert the distribution of one profile on a grid of one minute."""
    minute = np.arange(0.5, 1440.0) / 60
    density = np.full(1440, 0.001)
    for hour, width, weight in profile.peaks:
        away = np.abs(minute - hour)
        away = np.minimum(away, 24 - away)
        density += weight / width * np.exp(-0.5 * (away / width) ** 2)
    cumulative = np.concatenate([[0.0], np.cumsum(density)])
    levels = np.linspace(0.0, cumulative[-1], _QUANTILES + 1)
    times: FloatArray = np.interp(levels, cumulative, np.arange(1441) * 60.0)
    return times


def _payday_factor(day: date, payday: int) -> float:
    recent = {(day - timedelta(days=back)).day for back in range(_PAYDAY_DAYS)}
    return _PAYDAY_FACTOR if payday in recent else 1.0
