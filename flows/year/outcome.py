"""What a simulated year gave: for a person on a terminal, for a script, and for its page."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from balancing.metrics.intervals import Interval
from flows.year.comparison import Gain, MonthFigures
from flows.year.plan import YearPlan
from flows.year.story import Chapter, told
from flows.year.timeline import Kind, Timeline

_COUNTED: tuple[Kind, ...] = ("promoted", "refused", "waits", "stopped", "rolled_back")


@dataclass(frozen=True, slots=True)
class YearOutcome:
    """A simulated year.

    Attributes:
        plan: What was to happen when.
        timeline: What happened.
        months: What each way achieved in each month.
        gains: What retraining was worth.
        coverage: Of the rows that the figures are of.
        folder: Of everything that it left.
        seconds: How long it took.
        processor_seconds: Of both processes; other work on the machine counts for nothing here.
    """

    plan: YearPlan
    timeline: Timeline
    months: list[MonthFigures]
    gains: list[Gain]
    coverage: dict[str, Any]
    folder: Path
    seconds: float
    processor_seconds: float

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        """The year in a few sentences."""
        return told(self.timeline, self.months, self.plan)

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.folder / "year.html"

    @property
    def record(self) -> Path:
        """The same for machines."""
        return self.folder / "year.json"

    def to_json(self) -> dict[str, Any]:
        """Return the year as one JSON object."""
        return {
            "story": [asdict(each) for each in self.chapters],
            "plan": self.plan.model_dump(mode="json"),
            "timeline": [each.to_json() for each in self.timeline.happenings],
            "months": [_plain(asdict(each)) for each in self.months],
            "gains": [_plain(asdict(each)) for each in self.gains],
            "coverage": self.coverage,
            "seconds": round(self.seconds, 1),
            "processor_seconds": round(self.processor_seconds, 1),
            "page": str(self.page),
        }

    def show(self, console: Console) -> None:
        """Print what happened, what retraining was worth, and where it is told."""
        for each in self.timeline.of(*_COUNTED):
            console.print(f"{each.at:%Y-%m-%d}  {each.kind.replace('_', ' '):>11}  {each.says}")
        for gain in self.gains:
            console.print(
                f"{gain.what}, retrained less {gain.against}: average precision "
                f"{interval_in_words(gain.average_precision)}, recall "
                f"{interval_in_words(gain.recall)}",
                markup=False,
            )
        for chapter in self.chapters:
            console.print(f"{chapter.title}: {chapter.says}", markup=False)
        console.print(
            f"Page: {self.page}\nDone in {self.seconds:.0f} s, {self.processor_seconds:.0f} s of "
            "processor time."
        )


def interval_in_words(found: Interval | None, digits: int = 3) -> str:
    """Return a figure with its interval as a person reads it; an en dash where there is none."""
    if found is None:
        return "–"
    value, low, high = (f"{each:.{digits}f}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: no NaN."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
