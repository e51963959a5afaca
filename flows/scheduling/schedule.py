"""What is to be done with a model, and when; one a model and kind of work."""

from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from features.durations import parse_duration
from flows.complaints import first_complaint
from flows.moments import RequestError
from flows.scheduling.moments import Moments

POOL = "whitecrow"
"""The work pool that ``whitecrow worker`` serves."""


class Kind(StrEnum):
    """What a schedule does with its model."""

    RETRAIN = "retrain"
    MONITOR = "monitor"


class ScheduleKey(BaseModel):
    """What tells schedules apart.

    Attributes:
        name: The model.
        kind: The work.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    kind: Kind = Kind.RETRAIN

    def __str__(self) -> str:
        return self.name if self.kind == Kind.RETRAIN else f"{self.name} ({self.kind})"


class Schedule(ScheduleKey):
    """A schedule as it was asked for. The state folder keeps it; Prefect holds a copy.

    Attributes:
        cron: When: five fields of cron, or a word such as ``@daily``.
        timezone: IANA name of the zone that the cron is read in.
        data: Paths and URIs of tables; without any, those that the champion was trained from, or
            for a monitoring the decision log.
        window: A run sees rows of ``[moment - window, moment)``, like ``180d``; None: all before.
        config: Run configuration of the retraining, or limits of the monitoring.
        min_new_labels: A retraining waits until so many labels arrived since the last one.
        rest: A monitoring starts at most one retraining in this time.
        since: From when on moments count; earlier ones are for a backfill.
        pool: Work pool whose workers run it.
        paused: Whether its moments pass by.
        actor: Who asked for it.
        reason: Why.
    """

    cron: str
    timezone: str = "UTC"
    data: tuple[str, ...] = ()
    window: str | None = None
    config: Path | None = None
    min_new_labels: int = Field(default=0, ge=0)
    rest: str = "7d"
    since: datetime
    pool: str = Field(default=POOL, min_length=1)
    paused: bool = False
    actor: str
    reason: str

    @field_validator("window", "rest")
    @classmethod
    def _is_duration(cls, value: str | None) -> str | None:
        if value is not None and parse_duration(value) <= timedelta(0):
            raise ValueError("it must be longer than nothing")
        return value

    @property
    def key(self) -> ScheduleKey:
        """What tells it from other schedules."""
        return ScheduleKey(name=self.name, kind=self.kind)

    @property
    def moments(self) -> Moments:
        """When it is due."""
        return Moments(self.cron, self.timezone)

    def first_row_at(self, moment: datetime) -> datetime | None:
        """Return where the window of a moment begins; None for the first row there is."""
        return None if self.window is None else moment - parse_duration(self.window)

    def changed(self, **values: object) -> Self:
        """Return the schedule with other values."""
        return self.model_copy(update=values)


def checked_key(name: str, kind: Kind) -> ScheduleKey:
    """Return a key, or say that no model can have that name.

    Raises:
        RequestError: If none can.
    """
    try:
        return ScheduleKey(name=name, kind=kind)
    except ValidationError:
        raise RequestError(
            f"NAME: {name!r} is no name of a model (small letters, digits, - and _)."
        ) from None


def checked_schedule(**values: object) -> Schedule:
    """Return a schedule, or say which option is wrong.

    Raises:
        RequestError: If a value is.
        MomentsError: If the cron or its time zone cannot be read.
    """
    try:
        schedule = Schedule.model_validate(values)
    except ValidationError as error:
        raise RequestError(f"--{first_complaint(error).replace('_', '-', 2)}") from None
    schedule.moments.check()
    return schedule
