"""What a bake-off compares: the data, the members, the seeds, and what each member may spend."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from balancing.cross_fitting import FEWEST_HELD_BACK_POSITIVES
from flows.moments import RequestError, aware, parse_moment
from flows.run_config import read_run_config
from infra.storage import sha256_json


class BakeOffPlan(BaseModel):
    """One bake-off; two equal plans on equal data share their results.

    Attributes:
        data: A table in any format that whitecrow reads.
        contract: Path of a contract, or the name of a shipped one.
        as_of: The moment whose knowledge counts.
        strategies: Names of shipped members, or paths of TOML files with a ``[strategy]``.
        split: How rows are split in place of the contract's way: with ``random``, every seed
            is another stratified split.
        n_seeds: Repetitions, from seed 0 on; each with its own start weights.
        n_trials: Settings that every member tries, the first being its own defaults. The one
            with the best validation average precision is judged on test rows.
        shared: ``network`` and ``training`` of every strategy that trains a network, in place
            of the defaults.
        seconds_cap: A fit that takes longer did not finish.
        few_positives: With fewer held-back positives than this, folds judge.
        n_folds: How many of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    contract: str
    as_of: Annotated[datetime | None, AfterValidator(aware)] = None
    strategies: tuple[str, ...] = Field(min_length=1)
    split: Literal["time", "random"] | None = None
    n_seeds: int = Field(default=1, ge=1)
    n_trials: int = Field(default=1, ge=1)
    shared: dict[str, Any] = Field(default_factory=dict)
    seconds_cap: float = Field(default=1800, gt=0)
    few_positives: int = Field(default=FEWEST_HELD_BACK_POSITIVES, ge=0)
    n_folds: int = Field(default=4, ge=2)

    def digest(self, fingerprint: str) -> str:
        """Return what names the folder of results: what the fits depend on, and nothing else.

        More members, seeds or trials find what was done before.
        """
        same = self.model_dump(mode="json", exclude={"data", "strategies", "n_seeds", "n_trials"})
        return sha256_json({**same, "sha256": fingerprint})[:16]

    @property
    def name(self) -> str:
        """What names the page and the table: every other plan has its own."""
        return sha256_json(self.model_dump(mode="json"))[:8]


def bakeoff_plan(*, config: Path | None, as_of: str | None, **values: Any) -> BakeOffPlan:
    """Return the plan that a command line means.

    Args:
        config: A run configuration: its network, training and rule for few positives are
            everybody's.
        as_of: A moment, ISO 8601.
        values: Of :class:`BakeOffPlan`.

    Raises:
        RunConfigError: If the configuration file is wrong.
        RequestError: If a value is.
    """
    read = read_run_config(config, strategy=None, seed=None)
    strategy = read.strategy.model_dump(mode="json", exclude_unset=True)
    try:
        return BakeOffPlan(
            shared={key: strategy[key] for key in ("network", "training") if key in strategy},
            few_positives=read.few_positives,
            n_folds=read.n_folds,
            as_of=parse_moment(as_of),
            **values,
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]).removeprefix("n_").replace("_", "-")
        raise RequestError(f"--{key}: {first['msg']}. Got {first['input']!r}.") from None


class Job(BaseModel):
    """One fit, done in a process of its own.

    Attributes:
        member: Name of the member.
        seed: Repetition.
        trial: Number of the settings tried, from 0.
        strategy: Configuration of the strategy.
        features: Folder of the feature table.
        folder: Where the result goes.
        few_positives: See :class:`BakeOffPlan`.
        n_folds: See :class:`BakeOffPlan`.
        max_rows: More training rows than this, and the member does not start.
        n_threads: Cores to use.
        scores_test_rows: Whether to write their logits too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: str
    seed: int
    trial: int
    strategy: dict[str, Any]
    features: Path
    folder: Path
    few_positives: int
    n_folds: int
    max_rows: int | None = None
    n_threads: int = 1
    scores_test_rows: bool = True

    @property
    def name(self) -> str:
        """Member, seed and trial as a person reads them."""
        return f"{self.member}, seed {self.seed}, trial {self.trial}"

    @property
    def result_file(self) -> Path:
        """The result; once it is there, the job is done."""
        return self.folder / "result.json"

    @property
    def logits_file(self) -> Path:
        """Logits of calibration and test rows."""
        return self.folder / "logits.parquet"

    @property
    def log_file(self) -> Path:
        """What the process said."""
        return self.folder / "log.txt"


class JobResult(BaseModel):
    """What became of a fit.

    Attributes:
        finished: Whether there are logits.
        why_not: In one line, where it did not finish.
        strategy: Configuration that was fitted.
        validation_average_precision: What trials are chosen by.
        fit_seconds: Folds and the final fit together: processor time, which other work on the
            machine hardly changes; each fit has one core.
        final_seconds: The final fit alone, likewise.
        peak_bytes: Most memory that the process held.
        how: How the length of training was found.
        revision: Of the code that fitted it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finished: bool
    why_not: str | None = None
    strategy: dict[str, Any]
    validation_average_precision: float | None = None
    fit_seconds: float | None = None
    final_seconds: float | None = None
    peak_bytes: int | None = None
    how: dict[str, Any] = Field(default_factory=dict)
    revision: str | None = None
