"""The validation report: one self-contained page that says what was found and what to do."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from features.validation.outcome import TableResult, ValidationOutcome
from features.validation.profile import ColumnProfile, DataProfile
from flows.pages import render_page
from infra.storage import write_atomically

_RULE_WORDS = {
    "row_count": "Number of rows",
    "label_rate": "Share of positives among labelled rows",
    "freshness": "Age of the newest row",
    "time_order": "Order in time",
}
_SHOWN_CHANGES = 3
_ENDLESS = 1e300


def write_validation_report(
    path: Path,
    outcomes: Mapping[str, ValidationOutcome],
    *,
    title: str,
    contract: str,
    profile: DataProfile | None = None,
) -> None:
    """Write the page.

    Args:
        path: Where the page goes.
        outcomes: What was found, by the name of the table.
        title: Heading of the page.
        contract: The contract as the command line names it, for the command to requeue.
        profile: The profile that the tables were held against.
    """
    tables = [_table(name, outcome, contract, profile) for name, outcome in outcomes.items()]
    page = render_page("validation.html.j2", title=title, tables=tables)
    with write_atomically(path) as staging:
        staging.write_text(page, "utf-8")


def _table(
    name: str, outcome: ValidationOutcome, contract: str, profile: DataProfile | None
) -> dict[str, Any]:
    tone, verdict, explanation = _verdict(name, outcome)
    by_column = _by_column(outcome)
    compared = profile.columns if profile is not None else {}
    drift = [
        (column, compared[column], results)
        for column, results in by_column.items()
        if column in compared
    ]
    return {
        "name": name,
        "outcome": outcome,
        "tone": tone,
        "verdict": verdict,
        "explanation": explanation,
        "quarantined_share": _percent(outcome.quarantined / max(outcome.read, 1)),
        "command": f"whitecrow validate {_quoted(outcome.quarantine_path)} "
        f"--contract {_quoted(contract)} --requeue",
        "is_compared": outcome.compared_rows is not None,
        "results": [_whole(result) for result in outcome.table_results if result.column is None],
        "numbers": list(_numbers(drift, outcome)),
        "categories": list(_categories(drift, outcome)),
    }


def _verdict(name: str, outcome: ValidationOutcome) -> tuple[str, str, str]:
    counts = f"{outcome.passed:,} of {outcome.read:,} rows passed"
    if outcome.stopped:
        names = ", ".join(result.name for result in outcome.broken_table_rules[:8])
        more = len(outcome.broken_table_rules) - 8
        rest = f" and {more} more" if more > 0 else ""
        return "bad", f"{name}: stopped. Nothing was learnt from this table.", (
            f"It breaks a rule on the table as a whole: {names}{rest}. {counts}."
        )  # fmt: skip
    if outcome.accepted_table_rules:
        names = ", ".join(result.name for result in outcome.accepted_table_rules[:8])
        return "warn", f"{name}: passed, as its drift was accepted.", (
            f"{counts} and went on, far from the last released version's: {names}."
        )  # fmt: skip
    if outcome.quarantined:
        return "warn", f"{name}: passed, without {outcome.quarantined:,} rows.", (
            f"{counts} and went on; the others wait in quarantine and are not lost."
        )  # fmt: skip
    return "good", f"{name}: passed.", f"{counts}. No rule was broken."


def _whole(result: TableResult) -> dict[str, Any]:
    tones = {True: ("good", "held"), False: ("bad", "broken"), None: ("warn", "not judged")}
    tone, verdict = ("warn", "accepted") if result.accepted else tones[result.passed]
    return {
        "words": _RULE_WORDS.get(result.rule, result.rule),
        "observed": result.observed_text,
        "expected": result.expected,
        "before": _before(result),
        "passed": result.passed,
        "tone": tone,
        "verdict": verdict,
    }


def _before(result: TableResult) -> str:
    if result.before is None or result.unit == "flag":
        return "–"
    return _percent(result.before) if result.unit == "share" else f"{result.before:,.0f}"


def _by_column(outcome: ValidationOutcome) -> dict[str, dict[str, TableResult]]:
    grouped: dict[str, dict[str, TableResult]] = {}
    for result in outcome.table_results:
        if result.column is not None:
            grouped.setdefault(result.column, {})[result.rule] = result
    # Drifted columns come first, the others in the order of the contract.
    drifted = {c for c, rules in grouped.items() if not _held(rules)}
    return dict(sorted(grouped.items(), key=lambda item: item[0] not in drifted))


def _numbers(
    drift: list[tuple[str, ColumnProfile, dict[str, TableResult]]], outcome: ValidationOutcome
) -> Iterator[dict[str, Any]]:
    for column, before, rules in drift:
        if before.type != "number":
            continue
        now = outcome.profile.columns[column] if outcome.profile is not None else before
        yield {
            "column": column,
            "before": before.mean,
            "now": now.mean,
            "shift": _with_limit(rules.get("mean_drift")),
            "outside": _with_limit(rules.get("outside_range")),
            "missing_before": _percent(before.null_share),
            "missing": _percent(now.null_share),
            "passed": _held(rules),
        }


def _categories(
    drift: list[tuple[str, ColumnProfile, dict[str, TableResult]]], outcome: ValidationOutcome
) -> Iterator[dict[str, Any]]:
    for column, before, rules in drift:
        if before.type != "text":
            continue
        now = outcome.profile.columns[column] if outcome.profile is not None else before
        yield {
            "column": column,
            "shift": _with_limit(rules.get("category_drift")),
            "unseen": _with_limit(rules.get("unseen_categories")),
            "missing_before": _percent(before.null_share),
            "missing": _percent(now.null_share),
            "changes": _changes(before, now),
            "passed": _held(rules),
        }


def _changes(before: ColumnProfile, now: ColumnProfile) -> list[dict[str, str]]:
    shares = {
        category: (before.categories.get(category, 0.0), now.categories.get(category, 0.0))
        for category in {**before.categories, **now.categories}
    }
    largest = sorted(shares.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    return [
        {"category": category, "before": _percent(then), "now": _percent(today)}
        for category, (then, today) in largest[:_SHOWN_CHANGES]
        if then != today
    ]


def _held(rules: Mapping[str, TableResult]) -> bool:
    return all(result.passed is not False for result in rules.values())


def _with_limit(result: TableResult | None) -> str:
    """Return a figure with the most that is tolerated; no line break within either."""
    if result is None or result.observed is None:
        return "–"
    if result.unit == "share":
        limit = "" if result.high is None else f" (≤\N{NO-BREAK SPACE}{_percent(result.high)})"
        return f"{_percent(result.observed)}{limit}"
    limit = "" if result.high is None else f" (≤\N{NO-BREAK SPACE}{result.high:.2f})"
    return f"{result.observed:.2f}{limit}" if result.observed < _ENDLESS else "from constant"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}\N{NO-BREAK SPACE}%"


def _quoted(text: object) -> str:
    return shlex.quote(str(text))
