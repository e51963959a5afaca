"""``train --strategy auto``: try strategies within a budget, and take what validation prefers.

Plain training with its defaults is tried first and always finishes, so there is always something
to choose. Test rows take no part. The choice is the best validation average precision (of the
folds, where positives are few); with many candidates that figure is optimistic, and the report
says how many there were.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from flows.bakeoff.members import find_member
from flows.bakeoff.plan import Job, JobResult
from flows.bakeoff.schedule import OnDone, run_jobs
from flows.released_strategy import ReleasedStrategy, read_released
from flows.run_config import RunConfig, SearchConfig
from flows.run_folder import RunFolder, write_json

_SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a search found.

    Attributes:
        strategy: The chosen configuration.
        validation_average_precision: Of the chosen one.
        tried: Every candidate that was started, best first, for the record.
    """

    strategy: ReleasedStrategy
    validation_average_precision: float
    tried: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """The chosen candidate as a person calls it."""
        first = self.tried[0]
        settings = f"its settings {first['trial']}" if first["trial"] else "its defaults"
        return f"{first['candidate']} with {settings}"

    @property
    def n_finished(self) -> int:
        """How many candidates were not cut off."""
        return sum(each["validation_average_precision"] is not None for each in self.tried)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON values."""
        return {
            "strategy": self.strategy.model_dump(mode="json"),
            "validation_average_precision": self.validation_average_precision,
            "name": self.name,
            "n_finished": self.n_finished,
            "tried": list(self.tried),
        }


def search(
    features: Path,
    config: RunConfig,
    run: RunFolder,
    *,
    n_cores: int | None = None,
    on_done: OnDone | None = None,
) -> SearchOutcome:
    """Return the strategy that ranks validation rows best, of those tried within the budget.

    Args:
        features: Folder of the feature table.
        config: With a ``search``; its seed and rule for few positives are every candidate's.
        run: Where the fits and the record are kept.
        n_cores: Fits at once, each on one core; default: all cores.
        on_done: Told of every fit that ends.
    """
    assert config.search is not None
    budget = config.search.budget_minutes * _SECONDS_PER_MINUTE
    n_parallel = n_cores or os.cpu_count() or 1
    first, *others = candidates(config.search, config, features, run.search)
    started = time.monotonic()
    results = run_jobs([first], n_parallel=1, seconds_cap=float("inf"), on_done=on_done)
    deadline = started + budget
    results |= run_jobs(
        others, n_parallel=n_parallel, seconds_cap=budget, deadline=deadline, on_done=on_done
    )
    outcome = _chosen([first, *others], results)
    write_json(run.search_record, outcome.to_json())
    return outcome


def candidates(search: SearchConfig, config: RunConfig, features: Path, folder: Path) -> list[Job]:
    """Return what would be tried without a bound: every member's defaults, then further trials."""
    shared = config.strategy.model_dump(mode="json", include={"network", "training"})
    given = {key: value for key, value in shared.items() if key in config.strategy.model_fields_set}
    members = [find_member(name) for name in search.members]
    trials = range(search.n_trials)
    found = [
        (member, trial, member.trial(trial, shared=given)) for trial in trials for member in members
    ]
    return [
        Job(
            member=member.name,
            seed=config.seed,
            trial=trial,
            strategy=strategy,
            features=features,
            folder=folder / f"{number}-{member.name}",
            few_positives=config.few_positives,
            n_folds=config.n_folds,
            scores_test_rows=False,
            max_rows=member.max_rows,
        )
        for number, (member, trial, strategy) in zip(count(), found, strict=False)
    ]


def _chosen(jobs: Sequence[Job], results: dict[str, JobResult]) -> SearchOutcome:
    known = [(job, results[job.name]) for job in jobs if job.name in results]
    known.sort(key=lambda pair: -(pair[1].validation_average_precision or 0))
    _, best = known[0]
    if best.validation_average_precision is None:
        raise RuntimeError(f"Plain training did not finish: {best.why_not}")
    return SearchOutcome(
        read_released(best.strategy),
        best.validation_average_precision,
        tuple(
            {
                "candidate": job.member,
                "trial": job.trial,
                "validation_average_precision": result.validation_average_precision,
                "seconds": result.fit_seconds,
                "why_not": result.why_not,
                "strategy": result.strategy,
            }
            for job, result in known
        ),
    )
