"""Keeps a new policy: signed beside the others, told in the ledger, mirrored to MLflow.

Whatever fails, the policies that were there stay as they were, and what is live is not touched
at all. If the preview cannot be written or the ledger not told, the new policy is taken back.
"""

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from balancing.calibration.fitting.prior_estimation import PriorEstimate
from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import TunedThreshold
from flows.impact import Impact, preview_impact
from flows.impact_page import comparison_lines, render_impact
from flows.new_policy import Made, Recalibration, make_policy
from flows.policy_mirror import mirror_policy
from flows.recalibration import minor_units_of
from flows.run_folder import RunFolder, write_json
from flows.signing import signing_key
from flows.workspace import Workspace
from infra.errors import WhitecrowError
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage import write_atomically
from serving.bundle import ModelBundle
from serving.live import CHALLENGER, LiveRecord
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)

POLICY_CREATED = "policy_created"


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


def recalibrate_version(settings: Settings, asked: Recalibration) -> Announced:
    """Make a policy for a released version and keep it beside the others.

    Raises:
        WhitecrowError: If the reference, the rows, the objectives or the post-processing do not
            allow one, or the state folder takes no writes. Nothing has changed then.
    """
    started = time.monotonic()
    workspace, store = Workspace.open(settings), ModelStore.open(settings)
    name, version = store.resolve_version(asked.reference)
    bundle = store.bundle(name, version)
    earlier = _earlier(store, name, version)
    columns = earlier.policy.segment_columns if earlier else ()
    made = make_policy(store, bundle, version, asked, compared_columns=columns)
    made.policy.check_golden()
    _note_test_rows(settings, bundle, made, asked)
    if earlier is not None and not set(columns) <= set(made.preview.frame.columns):
        logger.warning("these rows lack the earlier policy's segments", extra={"columns": columns})
        earlier = None
    impact = _impact(bundle, made, earlier)
    key = signing_key(settings, store, actor=asked.actor)
    run = RunFolder(workspace.new_run(f"{name}-policy"))
    policy_version = store.add_policy(name, made.policy, key=key)
    new = NewPolicy(
        bundle=bundle,
        model_version=version,
        policy_version=policy_version,
        key_id=key.key_id,
        signature=store.policy_signature(name, policy_version),
        made=made,
        earlier=earlier,
        impact=impact,
        run=run,
    )
    try:
        _write_preview(new)
        entry = Ledger(settings.database).append(
            POLICY_CREATED, name, actor=asked.actor, reason=asked.reason, details=_details(new)
        )
    except BaseException:
        # Ctrl-C too: nobody has heard of this policy, and nobody is to promote it.
        store.withdraw_policy(name, policy_version)
        raise
    _point_challenger(store, new, entry.sequence)
    run_id = mirror_policy(settings, new)
    return Announced(new, entry.sequence, run_id, time.monotonic() - started)


def thresholds_json(policy: Policy) -> dict[str, Any]:
    """Return both thresholds with objective, interval and reason."""
    both = {"review": policy.thresholds.review, "decline": policy.thresholds.decline}
    return {word: _threshold_json(tuned) for word, tuned in both.items()}


def calibration_json(made: Made) -> dict[str, Any]:
    """Return which rows a policy was fitted on."""
    data = made.policy.calibration_data
    return {
        "fingerprint": data.fingerprint,
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


def _earlier(store: ModelStore, name: str, version: str) -> EarlierPolicy | None:
    """Return the policy to compare with; one that does not verify must not stand in the way."""
    live = store.live.get(name)
    is_live = live is not None and live.model_version == version
    try:
        reference = name if is_live else f"{name}:{version}"
        policy_version = store.resolve(reference).policy_version
        return EarlierPolicy(policy_version, store.policy(name, policy_version), is_live)
    except WhitecrowError as error:
        logger.warning("no earlier policy to compare with", extra={"why": str(error)})
        return None


def _note_test_rows(
    settings: Settings, bundle: ModelBundle, made: Made, asked: Recalibration
) -> None:
    """Write to the ledger that rows of the test period were read, where they were."""
    begins = bundle.manifest.test_from
    if begins is None or made.calibration.are_kept:
        return
    n_rows = int((made.calibration.labelled["event_time"] >= begins).sum())
    if n_rows:
        Ledger(settings.database).append(
            "test_rows.read",
            bundle.contract.name,
            actor=asked.actor,
            reason="recalibration on rows newer than the training",
            details={"model": bundle.manifest.name, "rows": n_rows, "from": begins.isoformat()},
        )


def _impact(bundle: ModelBundle, made: Made, earlier: EarlierPolicy | None) -> Impact:
    return preview_impact(
        made.preview.frame,
        earlier.policy if earlier else None,
        made.policy,
        minor_units_per_major=minor_units_of(bundle.contract),
        shown_columns=made.shown_columns,
    )


def _write_preview(new: NewPolicy) -> None:
    made, run = new.made, new.run
    write_json(
        run.impact,
        {
            "name": new.name,
            "model_version": new.model_version,
            "policy_version": new.policy_version,
            "compared_with": new.earlier.version if new.earlier else None,
            "currency": new.currency,
            **new.impact.to_json(),
        },
    )
    with write_atomically(run.impact_rows) as staging:
        new.impact.rows.write_parquet(staging)
    page = render_impact(
        new.impact,
        currency=new.currency,
        name=new.name,
        model_version=new.model_version,
        policy_version=new.policy_version,
        earlier=new.earlier,
        policy=made.policy,
        prior=made.prior,
        strength=strength_of(made.policy),
        origin=made.calibration.origin,
        left_out=made.calibration.left_out,
        segment_columns=made.shown_columns,
        cautions=_cautions(new),
        key_id=new.key_id,
    )
    with write_atomically(run.impact_page) as staging:
        staging.write_text(page, "utf-8")
    with write_atomically(run.policy) as staging:
        staging.write_text(made.policy.to_json(), "utf-8")


def strength_of(policy: Policy) -> dict[str, float]:
    """Return the strength of a policy's post-processing under its own name."""
    names = ("gamma", "tau", "temperature")
    values = {name: getattr(policy.post_processing, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _cautions(new: NewPolicy) -> list[str]:
    """Return what a reader must know before believing the figures."""
    found = []
    if new.made.is_shown_on_own_rows:
        found.append(
            "The labelled rows shown are among those that chose the new policy's thresholds: on "
            "rows to come expect a little less."
        )
    if new.impact.unlabelled:
        found.append(
            f"{new.impact.unlabelled:,} of the rows have no known label yet: they count in alerts "
            "a day, and in nothing that needs a label."
        )
    if new.made.preview.are_kept:
        found.append(
            "The rows are those held out when the model was trained. For the period that has "
            "passed since, recalibrate on newer rows."
        )
    if new.earlier is None:
        found.append("No earlier policy of this model can decide these rows: nothing to compare.")
    return found


def _details(new: NewPolicy) -> dict[str, Any]:
    policy = new.made.policy
    return {
        "model_version": new.model_version,
        "policy_version": new.policy_version,
        "policy_id": policy.policy_id,
        "model_sha256": policy.model_sha256,
        "key_id": new.key_id,
        "calibration": calibration_json(new.made),
        "thresholds": thresholds_json(policy),
        "post_processing": {"kind": policy.post_processing.kind, **strength_of(policy)},
        "compared_with": new.earlier.version if new.earlier else None,
        "preview": new.run.root.name,
    }


def _point_challenger(store: ModelStore, new: NewPolicy, sequence: int) -> None:
    """Where the model waits as challenger, let it wait with its newest policy."""
    before = store.live.get(new.name, alias=CHALLENGER)
    if before is not None and before.model_version == new.model_version:
        after = LiveRecord(new.model_version, new.policy_version, sequence)
        store.live.compare_and_swap(new.name, before, after, alias=CHALLENGER)
