"""The blocks of a contract: one frozen model for each table of the TOML file."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from features.durations import format_duration, parse_duration
from infra.exploration import Exploration
from infra.objectives import MaxFprObjective, MinPrecisionObjective, Objective


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"not a known time zone: {name!r}; write for example 'UTC'") from None
    return name


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)
]
TimeZone = Annotated[str, AfterValidator(_check_zone)]
Names = tuple[str, ...]

LONGEST_WINDOW = timedelta(days=36_525)


def _check_windows(windows: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
    for at, window in enumerate(windows):
        shown = format_duration(window)
        if not timedelta(0) < window <= LONGEST_WINDOW:
            longest = format_duration(LONGEST_WINDOW)
            raise ValueError(f"a window is longer than 0s and at most {longest}; got {shown!r}")
        if window in windows[:at]:
            raise ValueError(f"{shown!r} stands there twice: keep one")
    return windows


Windows = Annotated[tuple[Duration, ...], Field(min_length=1), AfterValidator(_check_windows)]


class Block(BaseModel):
    """A frozen block that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EventTime(Block):
    """When a row happened: a timestamp, a number since ``origin``, or text in ``format``."""

    column: str
    unit: Literal["ns", "us", "ms", "s", "min", "h", "d"] | None = None
    origin: datetime | None = None
    format: str | None = None
    time_zone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _unit_and_origin_together(self) -> Self:
        if (self.unit is None) != (self.origin is None):
            raise ValueError("unit and origin belong together: give both or neither")
        if self.unit is not None and self.format is not None:
            raise ValueError("format is for text, unit is for numbers: give one of them")
        return self

    @property
    def origin_utc(self) -> datetime | None:
        """The origin as an aware UTC timestamp; a naive one is read as UTC."""
        if self.origin is None:
            return None
        return (
            self.origin.astimezone(UTC) if self.origin.tzinfo else self.origin.replace(tzinfo=UTC)
        )


class Amount(Block):
    """The money column and its ISO 4217 currency."""

    column: str
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


def _from_column_name(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class Columns(Block):
    """The role of every column of the table."""

    id: str | None = None
    event_time: Annotated[EventTime, BeforeValidator(_from_column_name)] | None = None
    amount: Amount | None = None
    entities: Names = ()
    numeric: Names = ()
    categorical: Names = ()
    optional: Names = ()
    drop: Names = ()
    pii: Names = ()
    groups: Names = ()


class Label(Block):
    """What is predicted, and when it becomes known."""

    column: str
    positive: bool | int | float | str = 1
    delay: Duration = timedelta(0)
    source: str | None = None
    key: str | None = None
    reported_at: str | None = None
    absent_means: Literal["negative", "unknown"] | None = None

    @model_validator(mode="after")
    def _other_table_is_whole(self) -> Self:
        if self.source is not None and self.key is None:
            raise ValueError("labels from another table need key, the column that joins them")
        if self.source is not None and self.absent_means is None:
            raise ValueError("labels from another table need absent_means: negative or unknown")
        return self


class Velocity(Block):
    """Aggregates over an entity's own trailing windows, strictly before the row."""

    entity: str | Names
    windows: Windows
    aggregates: Annotated[Names, Field(min_length=1)]


class LabelRate(Block):
    """Share of positives among an entity's earlier rows whose labels are known by then."""

    entity: str | Names
    windows: Windows


class ColumnRule(Block):
    """What one column's values must satisfy; a row that breaks it is quarantined."""

    min: float | None = None
    max: float | None = None
    null: bool | None = None
    values: tuple[bool | int | float | str, ...] | None = None
    pattern: str | None = None
    unique: bool | None = None
    type: Literal["number", "integer", "text", "timestamp", "boolean"] | None = None


class Bounds(Block):
    """A closed interval; an absent end is open."""

    min: float | None = None
    max: float | None = None


class TableRules(Block):
    """What the table as a whole must satisfy; a breach stops the flow."""

    rows: Bounds | None = None
    label_rate: Bounds | None = None
    freshness: Duration | None = None


class Expectations(Block):
    """Row rules by column, and table rules. In TOML both stand in ``[expectations]``."""

    columns: dict[str, ColumnRule] = Field(default_factory=dict)
    table: TableRules = TableRules()

    @model_validator(mode="before")
    @classmethod
    def _columns_beside_table(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "columns" in value:
            return value
        return {
            "columns": {key: rule for key, rule in value.items() if key != "table"},
            "table": value.get("table", {}),
        }


class Split(Block):
    """How rows become train, validation, calibration and test."""

    by: Literal["time", "random", "cuts", "column"] = "time"
    fractions: tuple[float, float, float, float] = (0.6, 0.1, 0.1, 0.2)
    cuts: tuple[datetime, datetime, datetime] | None = None
    column: str | None = None
    seed: int = 0
    gap: Duration | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if any(share <= 0 for share in self.fractions) or abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions must be positive and sum to 1, got {self.fractions}")
        if (self.by == "cuts") != (self.cuts is not None):
            raise ValueError('cuts and by = "cuts" belong together')
        if (self.by == "column") != (self.column is not None):
            raise ValueError('column and by = "column" belong together')
        if self.cuts is not None and list(self.cuts) != sorted(set(self.cuts)):
            raise ValueError("cuts must increase: starts of validation, calibration and test")
        return self


class PolicySettings(Block):
    """Starting values of a policy; a released policy is its own object."""

    review: Objective = MaxFprObjective(objective="max_fpr", max_fpr=0.01)
    decline: Objective = MinPrecisionObjective(objective="min_precision", min_precision=0.9)
    segments: Names = ()
    on_stall: Literal["degrade", "refuse"] = "degrade"
    unknown_fields: Literal["refuse", "ignore"] = "refuse"
    max_clock_skew: Duration = timedelta(minutes=5)
    count_declined: bool = True
    exploration: Exploration | None = None


class Reasons(Block):
    """How a decision is explained."""

    deny: Names = ()
    text: dict[str, str] = Field(default_factory=dict)
    benign: dict[str, float | str] = Field(default_factory=dict)


class About(Block):
    """What a model of this contract is for, in words for whoever has to judge it; shapes nothing.

    Attributes:
        purpose: What it decides, for whom.
        limits: What it must not be used for, and what it cannot know.
        owner: Who answers for it.
    """

    purpose: str | None = None
    limits: tuple[str, ...] = ()
    owner: str | None = None
