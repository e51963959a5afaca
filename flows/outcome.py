"""What a training gave: for a person on a terminal, for a script, and for the registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.fitted_model import how_in_words
from flows.headline_metrics import HEADLINE_METRICS
from flows.recalibration import read_policy
from flows.release import Released
from flows.run_folder import RunFolder, read_json


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """A finished training.

    Attributes:
        released: Where the version is.
        run: The run's folder.
        run_id: MLflow's name for the run.
    """

    released: Released
    run: RunFolder
    run_id: str

    @property
    def strategy(self) -> str:
        """How the imbalance was treated."""
        kind: str = read_json(self.run.training)["config"]["strategy"]["kind"]
        return kind

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Test metrics by name, each with value, low and high."""
        metrics: dict[str, dict[str, float]] = read_json(self.run.evaluation)["report"]["metrics"]
        return metrics

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as one JSON object."""
        return {
            "name": self.released.name,
            "version": self.released.version,
            "policy_version": self.released.policy_version,
            "champion": self.released.is_champion,
            "run_id": self.run_id,
            "bundle": str(self.released.folder),
            "strategy": self.strategy,
            "metrics": self.metrics,
            "report": str(self.run.report),
        }

    def show(self, console: Console) -> None:
        """Print the headline and what to do next."""
        released = self.released
        name = f"{released.name}:{released.version}"
        console.print(metric_table(self.metrics))
        state = "champion: it answers" if released.is_champion else "challenger: it waits"
        console.print(
            f"Registered [bold]{name}[/] with policy {released.policy_version} ({state})."
        )
        for word in ("review", "decline"):
            tuned = getattr(read_policy(self.run).thresholds, word)
            if tuned.threshold is None:
                console.print(f"{word}: {tuned.reason}")
        console.print(f"Report: {self.run.report}")
        if released.is_champion:
            console.print(f"Next: whitecrow serve --model {released.name}")
        else:
            console.print(f"Next: whitecrow promote {name} --reason '...'")


def metric_table(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    """Return the headline metrics with their 95 % intervals."""
    table = Table(title="On the test rows", title_justify="left", box=None, pad_edge=False)
    for heading in ("metric", "value", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name in HEADLINE_METRICS:
        if name in metrics:
            found = metrics[name]
            interval = f"[{found['low']:.4f}, {found['high']:.4f}]"
            table.add_row(name, f"{found['value']:.4f}", interval.replace("[", "\\["))
    return table


def describe_version(run: RunFolder) -> str:
    """Return the text that stands beside a version in MLflow's pages."""
    evaluation, training = read_json(run.evaluation), read_json(run.training)
    report = evaluation["report"]
    how = (
        f"Trained with **{training['config']['strategy']['kind']}** on "
        f"{sum(training['class_counts']):,} rows ({training['class_counts'][1]:,} positive), "
        f"{how_in_words(training['how'])}."
    )
    judged = f"On {report['n_rows']:,} test rows ({report['n_positives']:,} positive):"
    found = [
        (name, report["metrics"][name]) for name in HEADLINE_METRICS if name in report["metrics"]
    ]
    rows = [f"| {n} | {m['value']:.4f} | {m['low']:.4f} to {m['high']:.4f} |" for n, m in found]
    return "\n".join(
        [how, "", judged, "", "| metric | value | 95 % interval |", "|---|---:|---|", *rows]
    )
