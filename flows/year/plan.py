"""What happens in the simulated year, and when: fixed beforehand, never by what comes out."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

NAME = "year"
"""Of the model that is served."""

ORACLE = "oracle"
"""Of the model that gets its labels at once, and is never served."""

_MONTHS = 12


class YearPlan(BaseModel):
    """A simulated year. Months count from 1.

    Attributes:
        rows: Transactions of the year and of the months before it.
        seed: Of the simulation and of every training.
        past_months: Simulated before the first row that is learnt from: features over time look
            back that far, label delay and all, and a model that learns from rows without a past is
            not to be compared.
        taught_months: Before the first month served: the first champion learns from them.
        year: The calendar year; all of it must have passed, since a service takes no rows from the
            future.
        first_month: Served first.
        retrains_from: At whose begin the first retraining may be: rows of the first month served
            need their labels by then, and a month of them is little to learn from.
        new_fraud_month: At whose begin a kind of fraud appears that nobody has seen.
        flipped_month: At whose begin a retraining is given rows with flipped labels, too.
        rollback_month: In whose middle a person takes the last promotion back.
        window_months: Length of the rows that a model is trained on.
        flipped_window_months: The same of the retraining with flipped labels.
        report_days: Shortest and longest time until a fraud is reported, in days.
        asked_days: After how many days the owner of a declined card has said what it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(default=200_000, ge=20_000)
    seed: int = Field(default=0, ge=0)
    year: int = Field(default=2025, ge=2000)
    past_months: int = Field(default=2, ge=2)
    taught_months: int = Field(default=4, ge=1)
    first_month: int = 1
    retrains_from: int = 4
    new_fraud_month: int = 7
    flipped_month: int = 10
    rollback_month: int = 11
    window_months: int = 6
    flipped_window_months: int = 2
    report_days: tuple[int, int] = (7, 30)
    asked_days: int = 7

    @property
    def start(self) -> datetime:
        """When the simulation begins."""
        return self.begin(self.taught_from - self.past_months)

    @property
    def taught_from(self) -> int:
        """The month from whose begin on rows are learnt from."""
        return self.first_month - self.taught_months

    @property
    def n_days(self) -> int:
        """Days of the simulation."""
        return (self.begin(_MONTHS + 1) - self.start).days

    @property
    def alerts_per_day(self) -> int:
        """How many alerts a day analysts have time for: three of a hundred rows."""
        return max(1, round(0.03 * self.rows / self.n_days))

    @property
    def months(self) -> range:
        """The months that are served."""
        return range(self.first_month, _MONTHS + 1)

    @property
    def periods(self) -> dict[str, range]:
        """The months that retraining is judged on together, by what they are called."""
        periods = {
            "before the new fraud": range(self.retrains_from, self.new_fraud_month),
            "from the new fraud on": range(self.new_fraud_month, _MONTHS + 1),
            "the last three months": range(_MONTHS - 2, _MONTHS + 1),
        }
        return {name: months for name, months in periods.items() if months}

    @property
    def label_delay(self) -> timedelta:
        """After which a transaction that nobody reported counts as genuine."""
        return timedelta(days=self.report_days[1])

    @property
    def labels_in(self) -> datetime:
        """When every label of the year is known."""
        return self.begin(_MONTHS + 1) + self.label_delay + timedelta(days=1)

    def begin(self, month: int) -> datetime:
        """Return when a month begins; 13 is the January after, 0 the December before."""
        years, place = divmod(month - 1, _MONTHS)
        return datetime(self.year + years, place + 1, 1, tzinfo=UTC)

    def day_of(self, month: int) -> int:
        """Return the day of the simulation, from 0, on which a month begins."""
        return (self.begin(month) - self.start).days

    def window(self, month: int, *, flipped: bool = False) -> tuple[datetime, datetime]:
        """Return when the served rows of a retraining begin and end; the last month is immature."""
        length = self.flipped_window_months if flipped else self.window_months
        return self.begin(max(self.first_month, month - 1 - length)), self.begin(month)

    def oracle_window(self, month: int) -> tuple[datetime, datetime]:
        """Return the rows that the oracle of a month is trained on: likewise, all of them mature.

        Also those from before the first month served: it had their labels already then.
        """
        begin = max(self.taught_from, month - 1 - self.window_months)
        return self.begin(begin), self.begin(month)

    def past_of(self, moment: datetime) -> datetime:
        """Return from when on rows are the past of those from a moment on."""
        years = moment.year - self.year
        return self.begin(years * _MONTHS + moment.month - self.past_months)
