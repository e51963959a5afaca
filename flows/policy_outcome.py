"""A new policy that waits for promotion: for a terminal, for a script, for the ledger."""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from balancing.calibration.fitting.prior_estimation import PriorEstimate
from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import TunedThreshold
from flows.impact import Impact
from flows.impact_page import comparison_lines
from flows.new_policy import Made
from flows.run_folder import RunFolder
from serving.bundle import ModelBundle


@dataclass(frozen=True, slots=True)
class EarlierPolicy:
    """The policy that decides with a model until now: the live one, else its newest."""

    version: str
    policy: Policy
    is_live: bool


@dataclass(frozen=True, slots=True)
class NewPolicy:
    """A kept policy that waits for promotion.

    Attributes:
        bundle: The model that it decides with.
        model_version: That model's version.
        policy_version: Its own.
        key_id: The key that signed it.
        signature: File of that signature.
        made: What it is, and what it was made from.
        earlier: What it is compared with; None where there is nothing that verifies.
        impact: What it would change.
        run: Folder with the impact preview.
    """

    bundle: ModelBundle
    model_version: str
    policy_version: str
    key_id: str
    signature: Path
    made: Made
    earlier: EarlierPolicy | None
    impact: Impact
    run: RunFolder

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.manifest.name

    @property
    def currency(self) -> str | None:
        """Currency of the amounts; None where no row has one."""
        amount = self.bundle.contract.columns.amount
        has_amounts = self.impact.total.new.caught_amount is not None
        return amount.currency if amount is not None and has_amounts else None


@dataclass(frozen=True, slots=True)
class Announced:
    """A new policy that the ledger knows.

    Attributes:
        new: The policy.
        ledger_sequence: The entry that tells of it.
        mlflow_run_id: Its run in MLflow; None where MLflow could not be told.
        seconds: How long all of it took.
    """

    new: NewPolicy
    ledger_sequence: int
    mlflow_run_id: str | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as one JSON object."""
        new, policy = self.new, self.new.made.policy
        earlier = new.earlier
        return {
            "name": new.name,
            "version": new.model_version,
            "policy_version": new.policy_version,
            "policy_id": policy.policy_id,
            "key_id": new.key_id,
            "compared_with": None if earlier is None else earlier.version,
            "thresholds": thresholds_json(policy),
            "post_processing": policy.post_processing.kind,
            "calibrator": policy.calibrator.kind,
            "exploration": exploration_json(policy),
            "calibration": calibration_json(new.made),
            "impact": asdict(new.impact.total),
            "preview": str(new.run.impact_page),
            "preview_table": str(new.run.impact),
            "preview_rows": str(new.run.impact_rows),
            "ledger_sequence": self.ledger_sequence,
            "mlflow_run_id": self.mlflow_run_id,
            "seconds": round(self.seconds, 3),
        }

    def show(self, console: Console) -> None:
        """Print what would change and what to do next."""
        new, policy = self.new, self.new.made.policy
        data = policy.calibration_data
        console.print(impact_table(new))
        for word in ("review", "decline"):
            console.print(f"{word}: {getattr(policy.thresholds, word).reason}")
        console.print(
            f"Policy [bold]{new.policy_version}[/] of {new.name}:{new.model_version}, fitted on "
            f"{data.n_rows:,} rows ({data.class_counts[1]:,} positive), signed by key "
            f"{new.key_id}; it waits. {self.seconds:.1f} s."
        )
        console.print(f"Preview: {new.run.impact_page}")
        console.print(
            f"Next: whitecrow promote {new.name}:{new.model_version} "
            f"--policy {new.policy_version} --reason '...'"
        )


def impact_table(new: NewPolicy) -> Table:
    """Return the figures of both policies for a terminal."""
    earlier = f"policy {new.earlier.version}" if new.earlier else "before"
    table = Table(title="On the last period", title_justify="left", box=None, pad_edge=False)
    for heading in ("figure", earlier, f"policy {new.policy_version}", "change"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    total = new.impact.total
    for line in comparison_lines(total.old, total.new, new.currency):
        table.add_row(line.name, line.old, line.new, line.change)
    return table


def thresholds_json(policy: Policy) -> dict[str, Any]:
    """Return both thresholds with objective, interval and reason."""
    both = {"review": policy.thresholds.review, "decline": policy.thresholds.decline}
    return {word: _threshold_json(tuned) for word, tuned in both.items()}


def exploration_json(policy: Policy) -> dict[str, Any] | None:
    """Return which declined rows a service lets through; None where it lets none."""
    return None if policy.exploration is None else policy.exploration.model_dump()


def calibration_json(made: Made) -> dict[str, Any]:
    """Return which rows a policy was fitted on."""
    data = made.policy.calibration_data
    newest = made.calibration.labelled["event_time"].max()
    return {
        "fingerprint": data.fingerprint,
        "until": newest.isoformat() if isinstance(newest, datetime) else None,
        "rows": data.n_rows,
        "positives": data.class_counts[1],
        "origin": made.calibration.origin,
        "left_out": made.calibration.left_out,
        "base_rate": None if made.prior is None else _prior_json(made.prior),
    }


def _prior_json(prior: PriorEstimate) -> dict[str, Any]:
    return {
        "estimated": asdict(prior.prevalence),
        "calibration_rows": prior.trained_prevalence,
        "rows": prior.n_rows,
        "steps": prior.n_steps,
    }


def _threshold_json(tuned: TunedThreshold) -> dict[str, Any]:
    # Through the model: an infeasible objective has no threshold, and its interval holds NaN.
    told = tuned.model_dump(mode="json", exclude={"achieved", "feasible_share"}, exclude_none=True)
    interval = told.pop("interval")
    ends = {"low": interval["low"], "high": interval["high"]}
    return {"threshold": None, **told, **ends}


def strength_of(policy: Policy) -> dict[str, float]:
    """Return the strength of a policy's post-processing under its own name."""
    names = ("gamma", "tau", "temperature")
    values = {name: getattr(policy.post_processing, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}
