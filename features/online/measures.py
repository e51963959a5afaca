"""Measures: what the stored events of one entity say, window by window, for one row.

Windows are nested, so each measure walks the events once, from the row back to the start of the
longest window. Whole numbers are added up exactly; each feature divides once, at its end.
Plain Python on short sequences: an ordinary entity has tens of events, where the overhead of
an array library would cost more than the work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from operator import mul
from typing import NamedTuple, Protocol

from features.online.amount_sums import AmountSums, OfAmounts
from features.online.events import MICROSECONDS_PER_SECOND, Event
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
        features: Position of each feature, and how it follows from the sums of all view.
        has_squares: Whether a feature needs sums of squares.
    """

    features: tuple[tuple[int, OfAmounts], ...]
    has_squares: bool

    def fill(self, out: list[float], view: View) -> None:
        """Add up the amounts of each window."""
        sums = self._sums(view)
        for position, value in self.features:
            out[position] = value(sums, view.event)

    def _sums(self, view: View) -> list[AmountSums]:
        sums: list[AmountSums] = []
        amounts = view.past.amounts
        n = total = squares = largest = smallest = 0
        end = view.end
        for start in view.starts:
            part = amounts[start:end]
            end = start
            if MISSING in part:
                part = [amount for amount in part if amount != MISSING]
            if part:
                top, bottom = max(part), min(part)
                largest = top if not n or top > largest else largest
                smallest = bottom if not n or bottom < smallest else smallest
                n += len(part)
                total += sum(part)
                if self.has_squares:
                    squares += sum(map(mul, part, part))
            sums.append(AmountSums(n, total, squares, largest, smallest))
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
            known.update(codes[start:end])
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
            in_time = [code for code in view.past.reports[start:end] if MISSING < code < moment]
            n_known += end - start if self.absent_is_negative else len(in_time)
            n_positive += sum([code & 1 for code in in_time])
            known.append(n_known)
            positive.append(n_positive)
            end = start
        for position, window in self.counts:
            out[position] = float(known[window])
        for position, window in self.rates:
            out[position] = positive[window] / known[window] if known[window] else nan
