"""Measures: what the stored events of one entity say, window by window, for one row.

Windows are nested, so each measure walks the events once, from the row back to the start of the
longest window. Whole numbers are added up exactly; each feature divides once, at its end.
Plain Python on short sequences: an ordinary entity has tens of events, where the overhead of
an array library would cost more than the work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple, Protocol

from features.online.amount_sums import NO_AMOUNTS, AmountSums, OfAmounts, joined, sums_of
from features.online.events import MICROSECONDS_PER_SECOND, Event
from features.online.long_parts import LONG, different, reports_before
from features.online.past import MISSING, EntityPast


class View(NamedTuple):
    """One row's look at the events of one entity.

    Attributes:
        event: The row's own event.
        past: The entity's events.
        end: Events before this position lie before the row's windows end.
        starts: First position inside each window; shortest window first.
    """

    event: Event
    past: EntityPast
    end: int
    starts: Sequence[int]


class Measure(Protocol):
    """Writes the values of some features of one entity."""

    def fill(self, out: list[float], view: View) -> None:
        """Put each feature's value at its position; leave it where it has none."""
        ...


@dataclass(frozen=True, slots=True)
class CountMeasure:
    """Numbers of events, and their ratios.

    Attributes:
        counts: Position of each feature, and its window.
        ratios: Position, window, longer window, and both lengths in microseconds.
    """

    counts: tuple[tuple[int, int], ...]
    ratios: tuple[tuple[int, int, int, int, int], ...]

    def fill(self, out: list[float], view: View) -> None:
        """Count the events of each window."""
        end, starts = view.end, view.starts
        for position, window in self.counts:
            out[position] = float(end - starts[window])
        for position, window, longer, length, longer_length in self.ratios:
            n_longer = end - starts[longer]
            if n_longer:
                n = end - starts[window]
                out[position] = float(n) * longer_length / (float(n_longer) * length)


@dataclass(frozen=True, slots=True)
class AmountMeasure:
    """Sums, means, extremes and deviations of amounts.

    Attributes:
        features: Position of each feature, and how it follows from the sums of all windows.
        has_squares: Whether a feature needs sums of squares.
        has_extremes: Whether a feature needs the largest or the smallest.
    """

    features: tuple[tuple[int, OfAmounts], ...]
    has_squares: bool
    has_extremes: bool

    def fill(self, out: list[float], view: View) -> None:
        """Add up the amounts of each window."""
        sums = self._sums(view)
        for position, value in self.features:
            out[position] = value(sums, view.event)

    def _sums(self, view: View) -> list[AmountSums]:
        amounts = view.past.amounts
        sums: list[AmountSums] = []
        so_far, end = NO_AMOUNTS, view.end
        for start in view.starts:
            if start < end:
                part = sums_of(
                    amounts[start:end],
                    has_squares=self.has_squares,
                    has_extremes=self.has_extremes,
                )
                so_far = joined(so_far, part)
                end = start
            sums.append(so_far)
        return sums


@dataclass(frozen=True, slots=True)
class DistinctMeasure:
    """Numbers of different values of one column.

    Attributes:
        column: Position in ``EntityPast.values``.
        features: Position of each feature, and its window.
    """

    column: int
    features: tuple[tuple[int, int], ...]

    def fill(self, out: list[float], view: View) -> None:
        """Count the different values of each window."""
        codes = view.past.values[self.column]
        known: set[int] = set()
        sizes = []
        end = view.end
        for start in view.starts:
            part = codes[start:end]
            known.update(different(part) if len(part) > LONG else part)
            known.discard(MISSING)
            sizes.append(float(len(known)))
            end = start
        for position, window in self.features:
            out[position] = sizes[window]


@dataclass(frozen=True, slots=True)
class ShareMeasure:
    """Shares of one value of one column among its known values.

    Attributes:
        column: Position in ``EntityPast.values``.
        code: Code of the value.
        features: Position of each feature, and its window.
    """

    column: int
    code: int
    features: tuple[tuple[int, int], ...]

    def fill(self, out: list[float], view: View) -> None:
        """Divide the rows with the value by the rows with any."""
        codes = view.past.values[self.column]
        for position, window in self.features:
            part = codes[view.starts[window] : view.end]
            n_known = len(part) - part.count(MISSING)
            if n_known:
                out[position] = part.count(self.code) / n_known


@dataclass(frozen=True, slots=True)
class SinceLastMeasure:
    """Seconds since the last event; null beyond a window.

    Attributes:
        features: Position of each feature, and its window.
    """

    features: tuple[tuple[int, int], ...]

    def fill(self, out: list[float], view: View) -> None:
        """Subtract the moment of the last event."""
        for position, window in self.features:
            if view.starts[window] < view.end:
                elapsed = view.event.event_time - view.past.times[view.end - 1]
                out[position] = elapsed / MICROSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class LabelMeasure:
    """Known labels before the row, and the share of positives among them.

    Its windows end one label delay before the row.

    Attributes:
        rates: Position of each feature, and its window.
        counts: Position of each feature, and its window.
        absent_is_negative: Whether an event counts as negative from the delay on, unless a
            positive report came before the row.
    """

    rates: tuple[tuple[int, int], ...]
    counts: tuple[tuple[int, int], ...]
    absent_is_negative: bool

    def fill(self, out: list[float], view: View) -> None:
        """Count the labels that were known strictly before the row."""
        n_known = n_positive = 0
        known, positive = [], []
        # A report code is twice its moment, plus one for a positive: odd and below is in time.
        moment = 2 * view.event.event_time
        end = view.end
        for start in view.starts:
            n_reported, n_odd = _reports_before(view.past.reports[start:end], moment)
            n_known += end - start if self.absent_is_negative else n_reported
            n_positive += n_odd
            known.append(n_known)
            positive.append(n_positive)
            end = start
        for position, window in self.counts:
            out[position] = float(known[window])
        for position, window in self.rates:
            out[position] = positive[window] / known[window] if known[window] else nan


def _reports_before(part: Sequence[int], moment: int) -> tuple[int, int]:
    """Return how many report codes lie below ``moment``, and how many of those are positive."""
    if len(part) > LONG:
        return reports_before(part, moment)
    in_time = [code for code in part if MISSING < code < moment]
    return len(in_time), sum([code & 1 for code in in_time])
