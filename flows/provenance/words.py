"""Lineages and traces as a person reads them on a terminal."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.provenance.lineage import Decided, Lineage, PolicyLineage
from flows.provenance.recorded import RunLineage
from flows.provenance.tracing import Trace

_DIGITS = 12


def show_lineage(lineage: Lineage, console: Console) -> None:
    """Print where a version comes from, and what became of it."""
    about = f"[bold]{lineage.name}:{lineage.version}[/]"
    with_policy = f" with policy {lineage.live_policy}" if lineage.live_policy else ""
    console.print(f"{about} ({lineage.state}{with_policy}), made {_moment(lineage.created_at)}")
    for title, facts in _sections(lineage):
        console.print(_facts(title, facts))
    console.print(_events(lineage))
    for missing in lineage.not_recorded:
        console.print(f"Not recorded: {escape(missing)}")
    for caution in lineage.cautions:
        console.print(f"Note: {escape(caution)}")
    console.print(f"Next: whitecrow audit export {lineage.name}:{lineage.version} --out FILE.html")


def show_trace(found: Trace, console: Console) -> None:
    """Print where a file went."""
    n = len(found.versions)
    console.print(
        f"SHA-256 {found.sha256}: in {n} version{'' if n == 1 else 's'}, which made "
        f"{found.decisions:,} decisions of the log"
    )
    for one in found.versions:
        live = f", {one.live_as}" if one.live_as else ""
        console.print(f"[bold]{one.name}:{one.version}[/] ({', '.join(one.how)}{live})")
        console.print(f"  policies {', '.join(one.policies) or 'none'}")
        for each in one.decisions:
            console.print(f"  {_decided(each)}")
    for built in found.datasets:
        into = f"; in {', '.join(built.versions)}" if built.versions else ""
        console.print(
            f"data set {escape(built.file)} (ledger entry {built.ledger_sequence}) "
            f"{built.how}{into}"
        )
    if found.verdicts:
        console.print(f"judged by it: ledger entries {', '.join(map(str, found.verdicts))}")


def _sections(lineage: Lineage) -> Iterator[tuple[str, dict[str, str]]]:
    recorded = lineage.recorded
    yield "Data", {**_data(lineage), **(_recorded_data(recorded) if recorded else {})}
    yield "How", _how(lineage, recorded)
    yield "On the test rows", _metrics(lineage.metrics)
    yield "Policies", {f"policy {one.version}": _policy(one) for one in lineage.policies}
    yield "Decisions", _decisions(lineage)


def _data(lineage: Lineage) -> dict[str, str]:
    contract = lineage.contract
    sources = {
        each["role"]: f"{each['name']}, {each['rows']:,} rows, SHA-256 {each['sha256']}"
        for each in lineage.data
    }
    named = f"{contract['name']} (data part {lineage.contract_data_sha256[:_DIGITS]})"
    return {**sources, "contract": named}


def _recorded_data(recorded: RunLineage) -> dict[str, str]:
    labels = recorded.labels
    rows = {
        each.part: f"{each.rows:,} rows ({each.positives:,} positive)"
        + (f", {_day(each.first)} to {_day(each.last)}" if each.first and each.last else "")
        for each in recorded.parts
    }
    as_of = f"as of {_moment(labels.as_of)}, " if labels.as_of else ""
    checked = {
        f"validated {each.role}": f"{each.read:,} read, {each.passed:,} passed, "
        f"{each.quarantined:,} in quarantine"
        for each in recorded.validation
    }
    return {
        **rows,
        "labels": f"{as_of}{labels.known:,} known ({labels.positives:,} positive), "
        f"{labels.immature:,} too young, {labels.unlabelled:,} without; SHA-256 {labels.sha256}",
        **checked,
    }


def _how(lineage: Lineage, recorded: RunLineage | None) -> dict[str, str]:
    n_features = len(lineage.features)
    found = {
        "strategy": lineage.strategy,
        "seed": str(lineage.config.get("seed")),
        "features": f"{n_features} (set {lineage.feature_set_hash[:_DIGITS]})",
        "network": f"SHA-256 {lineage.model_sha256}",
        "code": lineage.code_revision,
    }
    if recorded is not None:
        machine, devices = recorded.environment, ", ".join(recorded.hardware) or "no CUDA device"
        found |= {
            "asked for by": f"{recorded.actor}: {recorded.reason}",
            "lock": recorded.lock_sha256 or "none",
            "machine": f"Python {machine['python']}, {machine['platform']}, {machine['cores']} "
            f"cores; {devices}",
        }
    if lineage.mlflow is not None:
        run = lineage.mlflow
        found["MLflow"] = f"{run['experiment']}, {run['run_name']} ({run['status']})"
    elif lineage.mlflow_run_id:
        found["MLflow"] = f"run {lineage.mlflow_run_id}, not asked"
    return found


def _metrics(metrics: dict[str, Any]) -> dict[str, str]:
    names = ("average_precision", "roc_auc", "recall_at_fpr_0.01", "brier_score")
    return {
        name: f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"
        for name in names
        if (found := metrics.get(name)) is not None and found["value"] is not None
    }


def _policy(one: PolicyLineage) -> str:
    policy = one.policy
    cuts = [
        f"{word} from {tuned.threshold:.4g}"
        for word in ("review", "decline")
        if (tuned := getattr(policy.thresholds, word)).threshold is not None
    ]
    after = f", after policy {one.parent}" if one.parent else ""
    data = policy.calibration_data
    on = f"{data.n_rows:,} rows ({data.class_counts[1]:,} positive)"
    return f"{', '.join(cuts) or 'no threshold'}; on {on}{after}; {policy.actor}: {policy.reason}"


def _decisions(lineage: Lineage) -> dict[str, str]:
    if lineage.decisions is None:
        return {"log": "not asked"}
    found = {f"policy {each.policy_version}": _decided(each) for each in lineage.decisions}
    if lineage.retired_decisions:
        found["retired"] = f"{lineage.retired_decisions:,} of all models left the log"
    return found or {"log": "none"}


def _decided(each: Decided) -> str:
    counts = ", ".join(f"{count:,} {word}" for word, count in each.by_decision.items())
    return (
        f"{each.decisions:,} decisions with policy {each.policy_version} ({counts}), "
        f"{_moment(each.first)} to {_moment(each.last)}"
    )


def _facts(title: str, facts: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, escape(value))
    return table


def _events(lineage: Lineage) -> Table:
    table = Table(title="Ledger", title_justify="left", box=None, pad_edge=False)
    for heading in ("entry", "at (UTC)", "who", "what", "why"):
        table.add_column(heading, overflow="fold")
    for each in lineage.events:
        table.add_row(
            str(each.sequence), _moment(each.at), escape(each.actor), escape(each.says),
            escape(each.reason),
        )  # fmt: skip
    return table


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
