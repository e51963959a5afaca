"""Versions and models as MLflow describes them: one paragraph, a table, where to read on."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from features.contract import Contract
from flows.headline_metrics import HEADLINE_METRICS
from flows.provenance.events import is_change
from flows.provenance.lineage import Event, Lineage
from infra.ledger import LedgerEntry
from serving.live import CHALLENGER, CHAMPION, LiveRecord

LEDGER_FOLDER = "ledger"
_ARTIFACTS = ("report.html", "validation.html", "policy.json", "parity.json")


def version_words(lineage: Lineage, evaluation: Mapping[str, Any] | None) -> str:
    """Return what stands beside a version in MLflow's pages.

    Args:
        lineage: Of the version.
        evaluation: As it was kept with the version; None for one of an earlier release.
    """
    sentences = [
        _standing(lineage), _training(lineage), _judged(lineage, evaluation), _policy(lineage),
        _verdict(lineage), _asked(lineage),
    ]  # fmt: skip
    rows = [
        f"| {name} | {found['value']:.4f} | {found['low']:.4f} to {found['high']:.4f} |"
        for name in HEADLINE_METRICS
        if (found := lineage.metrics.get(name)) is not None and _is_known(found)
    ]
    table = ["| metric | value | 95 % interval |", "|---|---:|---|", *rows]
    artifacts = ", ".join(f"`{name}`" for name in _ARTIFACTS)
    read_on = (
        f"Artifacts of its run: {artifacts}, and what the ledger says of it in "
        f"`{LEDGER_FOLDER}/{lineage.name}-{lineage.version}.json`. "
        f"All of it: `whitecrow audit show {lineage.name}:{lineage.version}`."
    )
    paragraph = " ".join(each for each in sentences if each)
    return "\n".join([paragraph, "", *table, "", read_on])


def model_words(
    contract: Contract, live: Mapping[str, LiveRecord | None], change: LedgerEntry | None
) -> str:
    """Return what heads a model in MLflow's pages.

    Args:
        contract: Of what answers.
        live: The record of each alias.
        change: The entry of the ledger that made it answer.
    """
    about = contract.about
    purpose = f" {about.purpose.rstrip('.')}." if about.purpose else ""
    owner = f" {about.owner} answers for it." if about.owner else ""
    about_it = f"Scores {contract.domain} under the contract **{contract.name}**"
    lines = [f"{about_it} (label: {contract.label.column}).{purpose}{owner}"]
    champion, challenger = live.get(CHAMPION), live.get(CHALLENGER)
    if champion is not None:
        since = f" since {_day(change.at)}, by {change.actor}: {change.reason}" if change else ""
        lines.append(f"**{_pair(champion)} answers**{since}.")
    if challenger is not None and challenger != champion:
        lines.append(f"{_pair(challenger)} waits as challenger.")
    lines.append(
        "Aliases here are copies: changing one changes nothing that is served "
        "(`whitecrow promote`, `whitecrow rollback`)."
    )
    return "\n\n".join(lines)


def event_words(event: Event) -> str:
    """Return an entry of the ledger as the value of a tag."""
    return f"{event.at:%Y-%m-%d %H:%M} UTC, {event.actor}: {event.says} ({event.reason})"


def _standing(lineage: Lineage) -> str:
    words = {
        CHAMPION: f"It answers requests, with policy {lineage.live_policy}.",
        CHALLENGER: f"It waits as challenger, with policy {lineage.live_policy}.",
        "was champion": "It answered requests once and does so no more.",
        "waits": "It answers nothing.",
    }
    return words[lineage.state]


def _training(lineage: Lineage) -> str:
    names = ", ".join(
        f"`{each['name']}` (SHA-256 {each['sha256'][:12]}…)"
        for each in lineage.data
        if each["role"] != "labels"
    )
    recorded = lineage.recorded
    when = ""
    if recorded is not None:
        train = next((one for one in recorded.parts if one.part == "train"), None)
        if train is not None and train.first and train.last:
            when = f", {train.first:%Y-%m-%d} to {train.last:%Y-%m-%d}"
        if recorded.labels.as_of is not None:
            when += f", labels as of {recorded.labels.as_of:%Y-%m-%d %H:%M} UTC"
    return (
        f"Trained with **{lineage.strategy}** on {sum(lineage.class_counts):,} rows "
        f"({lineage.class_counts[1]:,} positive) of {names}{when}; {lineage.length}."
    )


def _judged(lineage: Lineage, evaluation: Mapping[str, Any] | None) -> str:
    found = lineage.metrics.get("average_precision")
    if found is None or not _is_known(found):
        return ""
    rows = ""
    if evaluation is not None:
        report = evaluation["report"]
        rows = f"On {report['n_rows']:,} test rows ({report['n_positives']:,} positive) "
    return (
        f"{rows or 'On its test rows '}average precision is {found['value']:.4f} "
        f"[{found['low']:.4f}, {found['high']:.4f}]."
    )


def _policy(lineage: Lineage) -> str:
    if not lineage.policies:
        return ""
    shown = next(
        (one for one in lineage.policies if one.version == lineage.live_policy),
        lineage.policies[-1],
    )
    parts = []
    for word in ("review", "decline"):
        tuned = getattr(shown.policy.thresholds, word)
        cut = "never" if tuned.threshold is None else f"from {tuned.threshold:.4g}"
        parts.append(f"{word} {cut} ({tuned.objective.objective})")
    return f"Policy {shown.version}: {', '.join(parts)}."


def _verdict(lineage: Lineage) -> str:
    told = [each for each in lineage.events if "outcome" in each.details]
    own = [
        each
        for each in told
        if each.details.get("challenger", {}).get("version") == lineage.version
    ]
    if not own:
        return "The gate has not judged it."
    last = own[-1]
    return f"The gate said: {last.details['says']} (ledger entry {last.sequence})."


def _asked(lineage: Lineage) -> str:
    recorded = lineage.recorded
    return "" if recorded is None else f"Asked for by {recorded.actor}: {recorded.reason}."


def last_change(entries: list[LedgerEntry], record: LiveRecord | None) -> LedgerEntry | None:
    """Return the entry that made a record live."""
    for entry in entries:
        if record is not None and entry.sequence == record.ledger_sequence and is_change(entry):
            return entry
    return None


def _pair(record: LiveRecord) -> str:
    return f"Version {record.model_version} with policy {record.policy_version}"


def _day(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d}"


def _is_known(found: Mapping[str, Any]) -> bool:
    return None not in (found["value"], found["low"], found["high"])
