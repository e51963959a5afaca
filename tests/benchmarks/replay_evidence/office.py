"""Who looks after a replayed model: trains it, looks back, retrains, and lets the gate judge."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from flows.datasets.building import build_dataset
from flows.datasets.request import DatasetRequest
from flows.gate.rule import keep_rule
from flows.monitoring.request import MonitorRequest
from flows.monitoring.run import monitor
from flows.outcome import TrainingOutcome
from flows.request import TrainRequest
from flows.retraining.failure import RetrainingStopped
from flows.retraining.outcome import RetrainOutcome
from flows.retraining.request import RetrainRequest
from flows.retraining.run import run_retraining
from flows.run_config import RunConfig
from flows.training_run import run_training
from infra.settings import Settings
from replay_evidence.streams import Stream

ACTOR = "replay"
_LOOKED_BACK_AT = 3


@dataclass(frozen=True)
class Looked:
    """What monitoring said: its headline, and how many findings of which metric."""

    says: str
    findings: dict[str, int]


@dataclass(frozen=True)
class Judged:
    """What became of a retraining.

    Attributes:
        version: That was trained; empty where it came to none.
        rows: That it was trained and judged on.
        verdict: The gate's; ``stopped`` where a step before it said no.
        promoted: Whether it answers now.
        failed: Checks that said no.
        open: Checks that could not tell.
        says: The verdict in words.
    """

    version: str
    rows: int
    verdict: str
    promoted: bool
    failed: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    says: str = ""


@dataclass(frozen=True)
class Office:
    """Does what falls due at the edge of a period.

    Args:
        settings: Where the state is.
        stream: What is replayed.
        config: How every version is trained.
        folder: Of tables, contracts and pages.
    """

    settings: Settings
    stream: Stream
    config: RunConfig
    folder: Path

    def train_first(self) -> TrainingOutcome:
        """Train the first version on what is known when the service starts."""
        stream, at = self.stream, self.stream.starts
        outcome = run_training(
            TrainRequest(
                data=str(self._table(at, [self._past])),
                contract=str(self._contract(at)),
                name=stream.name,
                config=self.config,
                device="cpu",
                as_of=stream.edges[at],
                actor=ACTOR,
                reason="first version",
            ),
            self.settings,
        )
        rule = self.folder / "gate.toml"
        rule.write_text('on_pass = "promote"\n', "utf-8")
        reason = "what passes is promoted"
        keep_rule(self.settings, stream.name, rule, actor=ACTOR, reason=reason)
        return outcome

    def look_back(self, at: int) -> Looked:
        """Monitor the newest served periods, as of the end of the last one."""
        edges = self.stream.edges
        report = monitor(
            self.settings,
            MonitorRequest(
                name=self.stream.name,
                since=edges[max(self.stream.starts, at - _LOOKED_BACK_AT)],
                until=edges[at],
                as_of=edges[at],
                out=self.folder / "monitoring" / f"{at:02d}",
            ),
        )
        metrics = [each.metric for each in report.findings]
        counted = {metric: metrics.count(metric) for metric in dict.fromkeys(metrics)}
        return Looked(report.headline, counted)

    def retrain(self, at: int) -> Judged:
        """Train a version on all that is known at an edge, the past and what was served."""
        stream = self.stream
        parts = [self._past]
        if stream.known_at(at) > stream.starts:
            parts.append(self._served(at))
        request = RetrainRequest(
            name=stream.name,
            data=(str(self._table(at, parts)),),
            contract=str(self._contract(at)),
            config=self.config,
            device="cpu",
            as_of=stream.edges[at],
            actor=ACTOR,
            reason=f"retraining of {stream.label_of_period(at)}",
        )
        rows = sum(part.height for part in parts)
        try:
            return _judged(run_retraining(request, self.settings), rows)
        except RetrainingStopped as stopped:
            return Judged(
                version="", rows=rows, verdict="stopped", promoted=False, says=str(stopped)
            )

    @property
    def _past(self) -> pl.DataFrame:
        return self.stream.between(0, self.stream.starts)

    def _served(self, at: int) -> pl.DataFrame:
        """Return the rows that were served and whose labels are known, out of the decision log."""
        stream = self.stream
        built = build_dataset(
            self.settings,
            DatasetRequest(
                name=stream.name,
                out=self.folder / f"served_{at:02d}.parquet",
                since=stream.edges[stream.starts],
                until=stream.edges[at],
                as_of=stream.edges[at],
                actor=ACTOR,
                reason=f"rows for the retraining of {stream.label_of_period(at)}",
            ),
        )
        return pl.read_parquet(built.file)

    def _table(self, at: int, parts: list[pl.DataFrame]) -> Path:
        """Write rows of the past and of the log as one table, in the columns of the contract."""
        path = self.folder / f"known_{at:02d}.parquet"
        first = parts[0]
        same = [part.select(first.columns).cast(dict(first.schema)) for part in parts]
        pl.concat(same).write_parquet(path)
        return path

    def _contract(self, at: int) -> Path:
        path = self.folder / f"contract_{at:02d}.json"
        contract = self.stream.contract_at(at)
        path.write_text(json.dumps(contract.model_dump(mode="json")), "utf-8")
        return path


def _judged(outcome: RetrainOutcome, rows: int) -> Judged:
    assert outcome.page is not None, "a retraining has a champion to beat"
    gate = json.loads(Path(outcome.page).with_suffix(".json").read_text("utf-8"))
    checks = {
        passed: [c["name"] for c in gate["checks"] if c["passed"] is passed]
        for passed in (False, None)
    }
    return Judged(
        version=outcome.version,
        rows=rows,
        verdict=outcome.verdict or "",
        promoted=outcome.champion,
        failed=checks[False],
        open=checks[None],
        says=outcome.says,
    )
