"""What a monitoring run calls too far, and whom it tells; read from TOML."""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from features.contract_blocks import Duration
from flows.complaints import first_complaint
from flows.toml_file import read_toml
from infra.errors import InputError

Action: TypeAlias = Literal["none", "notify", "retrain"]


class MonitorConfigError(InputError):
    """Raised for a monitoring configuration that cannot be used; names the offending key."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limit(_Block):
    """From which value on somebody is told, and from which on a retraining starts.

    Attributes:
        notify: None: nobody is told.
        retrain: None: no value starts a retraining.
    """

    notify: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    retrain: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.notify is not None and self.retrain is not None and self.retrain < self.notify:
            raise ValueError(f"retrain must be at least notify. Got {self.retrain:g}")
        return self

    def action(self, value: float) -> Action:
        """Return what a value calls for; NaN calls for nothing."""
        if self.retrain is not None and value >= self.retrain:
            return "retrain"
        if self.notify is not None and value >= self.notify:
            return "notify"
        return "none"

    def reached(self, value: float) -> float | None:
        """Return the limit that a value has reached; None for none."""
        action = self.action(value)
        return None if action == "none" else getattr(self, action)


class Limits(_Block):
    """A limit for each metric; larger values are worse throughout.

    Attributes:
        column_drift: Stability index of a column.
        missing_rise: Rise of the share of rows without a value, in points of 1.
        unseen_rise: Rise of the share of rows with a category unknown from training.
        score_drift: Stability index of the risk score.
        decision_shift: Change of the share of a decision, in points of 1.
        alert_volume: Alerts a day over what the policy was made for, as a ratio.
        average_precision: Share of the reference's that is lost, on matured labels.
        precision: Likewise, of the rows reviewed or declined.
        recall: Likewise.
        calibration_slope: Distance of the slope from 1, on matured labels.
        calibration_error: Expected calibration error over the base rate, on matured labels.
        estimated_precision: Share of the reference's estimate that is lost, before labels.
        estimated_recall: Likewise.
        segment_alerts: Alert rate of a segment over the reference's, as a ratio.
    """

    column_drift: Limit = Limit(notify=0.1, retrain=0.25)
    missing_rise: Limit = Limit(notify=0.05, retrain=0.2)
    unseen_rise: Limit = Limit(notify=0.02, retrain=0.1)
    score_drift: Limit = Limit(notify=0.1, retrain=0.25)
    decision_shift: Limit = Limit(notify=0.05)
    alert_volume: Limit = Limit(notify=1.5)
    average_precision: Limit = Limit(notify=0.1, retrain=0.25)
    precision: Limit = Limit(notify=0.2, retrain=0.4)
    recall: Limit = Limit(notify=0.1, retrain=0.25)
    calibration_slope: Limit = Limit(notify=0.3, retrain=0.6)
    calibration_error: Limit = Limit(notify=0.5)
    estimated_precision: Limit = Limit(notify=0.3)
    estimated_recall: Limit = Limit(notify=0.2)
    segment_alerts: Limit = Limit(notify=2.0)


class ReferenceWindow(_Block):
    """What rows are held against.

    Attributes:
        days: That many days of the same source before the window; None: the rows that were held
            out when the version was trained.
    """

    days: float | None = Field(default=None, gt=0, le=3650)


class MonitorConfig(_Block):
    """Everything that shapes a monitoring run apart from the rows.

    Attributes:
        window: How long the window is where no begin is asked for.
        maturity: How far back reports are looked at, for how fast labels become known.
        min_rows: With fewer rows on either side nothing is said of them.
        min_positives: With fewer known positives on either side nothing is said of performance.
        sampled_rows: Rows of each side that distributions are compared on, drawn at random; shares
            of missing values and unseen categories are of all rows.
        false_discoveries: Expected share of false alarms among the columns called changed.
        segments: Columns to tell apart; default: those of the policy and of the contract.
        reference: What rows are held against.
        limits: By metric.
        notify: Targets, see :func:`flows.notifying.read_target`; default: ``WHITECROW_NOTIFY``.
    """

    window: Duration = timedelta(days=28)
    maturity: Duration = timedelta(days=90)
    min_rows: int = Field(default=500, ge=50)
    min_positives: int = Field(default=30, ge=10)
    sampled_rows: int = Field(default=10_000, ge=500)
    false_discoveries: float = Field(default=0.05, gt=0, lt=1)
    segments: tuple[str, ...] | None = None
    reference: ReferenceWindow = ReferenceWindow()
    limits: Limits = Limits()
    notify: tuple[str, ...] | None = None


def read_monitor_config(path: Path | None) -> MonitorConfig:
    """Return a configuration, everything that the file leaves out by default.

    Raises:
        MonitorConfigError: If the file cannot be read, or has an unknown key or a bad value.
    """
    given = {} if path is None else read_toml(path, MonitorConfigError)
    try:
        return MonitorConfig.model_validate(given)
    except ValidationError as error:
        raise MonitorConfigError(f"{path}: {first_complaint(error)}") from None
