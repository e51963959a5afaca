"""The begin of a month: what was served is looked at, a new version is trained and judged."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from features.served_table import DESCRIPTION_KEY
from flows.datasets.building import BuiltDataset, build_dataset
from flows.datasets.request import DatasetRequest
from flows.monitoring.request import MonitorRequest
from flows.monitoring.run import monitor
from flows.outcome import TrainingOutcome
from flows.progress import say
from flows.promotion import registry_mirror, rollback
from flows.retraining.outcome import RetrainOutcome
from flows.retraining.request import RetrainRequest
from flows.retraining.run import run_retraining
from flows.year.plan import NAME
from flows.year.timeline import Happening, Kind, Timeline
from flows.year.world import World
from infra.errors import WhitecrowError
from infra.settings import Settings
from infra.tracking import open_tracking
from serving.model_store import ModelStore

_SHOWN_FINDINGS = 4
_LOSSES = ("recall", "average_precision")
_KINDS: dict[str, Kind] = {"keep": "refused", "person": "waits"}


@dataclass(frozen=True, slots=True)
class Office:
    """Whoever looks after the model of the simulated year.

    Attributes:
        settings: Where the state is.
        world: What is simulated.
        timeline: What has happened so far.
        folder: Of everything that people read.
    """

    settings: Settings
    world: World
    timeline: Timeline
    folder: Path

    @property
    def actor(self) -> str:
        """Who does all this, as the ledger has it."""
        return self.settings.actor

    def look_back(self, month: int) -> None:
        """Monitor the last two months, and how the version did that decided the older one.

        Of that month the labels are in. A version that was promoted since has none to show.
        """
        plan = self.world.plan
        older = max(plan.first_month, month - 2)
        since, until = plan.begin(older), plan.begin(month)
        report = monitor(
            self.settings,
            MonitorRequest(
                name=f"{NAME}:{self.timeline.live_at(since)}",
                since=since,
                until=until,
                as_of=until,
                out=self.folder / "monitoring" / f"{until:%Y-%m}",
            ),
        )
        metrics = [each.metric for each in report.findings]
        self.timeline.add(
            Happening(
                until,
                "monitored",
                report.headline,
                report.model_version,
                {"monitoring": self._relative(report.page)},
                {
                    "action": report.action,
                    "findings": {metric: metrics.count(metric) for metric in sorted(set(metrics))},
                    "losses": [each.says for each in report.findings if each.metric in _LOSSES],
                    "first": [each.says for each in report.findings[:_SHOWN_FINDINGS]],
                },
            )
        )
        say("monitored", f"{until:%B}: {report.headline}")

    def retrain(self, month: int, *, flipped: bool = False) -> RetrainOutcome | None:
        """Train a version on the rows that were served, and let the gate judge it.

        Args:
            month: At whose begin.
            flipped: Whether the labels of the rows that it learns from are the wrong way round.

        Returns:
            What came of it; None where it came to no version.
        """
        now = self.world.plan.begin(month)
        what = "retraining on flipped labels" if flipped else "monthly retraining"
        try:
            since, until = self.world.plan.window(month, flipped=flipped)
            built = self.dataset(since, until, as_of=now, reason=f"rows for the {what}")
            file = self._flipped(built.file, now) if flipped else built.file
            outcome = run_retraining(
                RetrainRequest(
                    name=NAME,
                    data=(str(file),),
                    config=self.world.config,
                    device="cpu",
                    as_of=now,
                    actor=self.actor,
                    reason=f"{what}, {now:%B}",
                ),
                self.settings,
            )
        except WhitecrowError as stopped:
            self.timeline.add(Happening(now, "stopped", f"The {what} stopped: {stopped}"))
            say("stopped", f"{now:%B}: {stopped}")
            return None
        kind = "promoted" if outcome.champion else _KINDS[outcome.verdict or "person"]
        pages = {"report": outcome.report, "verdict": outcome.page}
        self.timeline.add(
            Happening(
                now,
                kind,
                f"{what.capitalize()}: {outcome.says}",
                outcome.version,
                {key: self._relative(Path(page)) for key, page in pages.items() if page},
                {
                    "rows": built.coverage.to_json(),
                    "flipped": flipped,
                    "fitted_until": self._fitted_until(outcome.version),
                },
            )
        )
        say(kind, f"{now:%B}: {NAME}:{outcome.version}, {outcome.says}")
        return outcome

    def roll_back(self, now: datetime) -> None:
        """Take the last promotion back: a drill, so that going back works when it must."""
        mirror = registry_mirror(open_tracking(self.settings), self.settings)
        reason = "a drill: going back has to work before it is needed"
        try:
            change = rollback(self.settings, NAME, actor=self.actor, reason=reason, mirror=mirror)
        except WhitecrowError as stopped:
            self.note(now, "stopped", f"Nothing was rolled back: {stopped}")
            return
        before = change.before
        assert before is not None, "a rollback replaces what was live"
        self.timeline.add(
            Happening(
                now,
                "rolled_back",
                f"A person takes {NAME}:{before.model_version} back ({reason}).",
                change.after.model_version,
                facts={"from": before.model_version, "to": change.after.model_version},
            )
        )
        say("rolled back", f"{before.model_version} to {change.after.model_version}")

    def note(
        self, at: datetime, kind: Kind, says: str, outcome: TrainingOutcome | None = None
    ) -> None:
        """Add to the timeline what happened, and the version that came of it."""
        version = None if outcome is None else outcome.released.version
        pages = {} if outcome is None else {"report": self._relative(outcome.run.report)}
        self.timeline.add(Happening(at, kind, says, version, pages))

    def dataset(
        self, since: datetime, until: datetime, *, as_of: datetime, reason: str
    ) -> BuiltDataset:
        """Write the rows of ``[since, until)`` that were served and whose labels are known."""
        return build_dataset(
            self.settings,
            DatasetRequest(
                name=NAME,
                out=self.world.folder / f"served_{since:%Y-%m}_{until:%Y-%m}.parquet",
                since=since,
                until=until,
                as_of=as_of,
                actor=self.actor,
                reason=reason,
            ),
        )

    def _flipped(self, file: Path, now: datetime) -> Path:
        """Write a copy with flipped labels in all but the newest mature rows, which judge."""
        contract = self.world.contract
        moments = pl.read_parquet(file, columns=["TX_DATETIME"]).to_series().sort()
        mature = moments.filter(moments <= now - contract.label.delay)
        learnt_from = round(len(mature) * (1 - contract.split.fractions[3]))
        path = file.with_name(f"{file.stem}_flipped.parquet")
        flip_labels(file, path, until=mature[learnt_from], seed=self.world.plan.seed)
        return path

    def _fitted_until(self, version: str) -> str | None:
        """Return the newest event time that a version was fitted on."""
        until = ModelStore.open(self.settings).bundle(NAME, version).manifest.fitted_until
        return None if until is None else until.isoformat()

    def _relative(self, page: Path) -> str:
        return os.path.relpath(page, self.folder)


def flip_labels(file: Path, out: Path, *, until: datetime, seed: int) -> None:
    """Write a table of served rows in which labels before a moment are the wrong way round.

    Every fraud becomes genuine and as many genuine rows, drawn at random, become frauds: so that
    their share stays what it was, which is what validation looks at.

    Args:
        file: As :func:`flows.datasets.building.build_dataset` writes it.
        out: The copy; it says of itself what ``file`` does.
        until: Rows before then.
        seed: Decides which genuine rows.
    """
    rows, name = pl.read_parquet(file), "TX_FRAUD"
    label = rows[name].to_numpy().copy()
    is_before = (rows["TX_DATETIME"] < until).to_numpy()
    frauds, genuine = (np.flatnonzero(is_before & (label == value)) for value in (1, 0))
    n_flipped = min(len(frauds), len(genuine))
    label[frauds] = 0
    label[np.random.default_rng(seed).choice(genuine, n_flipped, replace=False)] = 1
    flipped = rows.with_columns(pl.Series(name, label, dtype=rows[name].dtype))
    description = pl.read_parquet_metadata(file)[DESCRIPTION_KEY]
    flipped.write_parquet(out, metadata={DESCRIPTION_KEY: description})
