"""Replaying decisions of the past."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.console import console, print_json
from flows.commands.options import AsJson
from flows.moments import RequestError, parse_moment
from infra.settings import Settings

_DIFFERS = 1
_UNBROKEN = 1_000
"""Columns of a page that no line of it fills."""
_LEVELS = {
    "features": "features of the row, computed again; those over time as they were served",
    "from_logits": "policy on the logged logits",
    "from_features": "network on the logged features, reasons, decision",
}


def add_commands(audit: typer.Typer) -> None:
    """Register this module's commands."""
    audit.command("replay")(replay)


def replay(
    decision_id: Annotated[
        str | None, typer.Argument(help="As the answer named it; or --all for a period.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every decision of a period.")] = False,
    begin: Annotated[
        str | None, typer.Option("--from", help="Received from then on (ISO 8601).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Received before (ISO 8601).")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Of this model only.")] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Folder of whitecrow decisions retire, to look there too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide again what was decided, from the log and the archived model, and compare."""
    from flows.audit_replay import replay_decision, replay_period
    from flows.row_progress import row_progress

    if every == (decision_id is not None):
        raise RequestError("Name one decision, or give --all for a period.")
    if decision_id is not None:
        if begin or end or model:
            raise RequestError("--from, --to and --model go with --all.")
        shown = replay_decision(Settings(), decision_id, archive=archive)
        print_json(shown) if as_json else _print_decision(shown)
        raise typer.Exit(_DIFFERS if shown["verdict"] == "differs" else 0)
    with row_progress("replay") as on_progress:
        period = replay_period(
            Settings(),
            begin=parse_moment(begin, "--from"),
            end=parse_moment(end, "--to"),
            model=model,
            archive=archive,
            on_progress=on_progress,
        ).to_json()
    print_json(period) if as_json else _print_period(period)
    raise typer.Exit(_DIFFERS if period["n_mismatches"] else 0)


def _print_decision(shown: dict[str, Any]) -> None:
    model = shown["model"]
    console.print(
        f"Decision {shown['decision_id']} of {shown['received_at']}, by {model['name']} "
        f"version {model['version']} with policy {model['policy_version']}: "
        f"[bold]{shown['verdict']}[/]"
    )
    for name, level in shown["levels"].items():
        console.print(f"  {level['verdict']:>10}  {_LEVELS[name]}")
        for text in level["differences"]:
            console.print(f"              differs: {escape(text)}")
        for text in level["missing"]:
            console.print(f"              missing: {escape(text)}")
    console.print(_where(shown["platform"]))
    table = Table(box=None, pad_edge=False)
    for heading in ("", "logged", "from the logged logits", "from the logged features"):
        table.add_column(heading, overflow="fold")
    levels = [shown["logged"], shown["from_logits"] or {}, shown["from_features"] or {}]
    for name in ("logits", "risk_score", "decision", "flags"):
        table.add_row(name, *(_text(level.get(name)) for level in levels))
    for at in range(max(len(level.get("reasons", ())) for level in levels)):
        table.add_row(f"reason {at + 1}", *(_reason(level, at) for level in levels))
    _print_table(table)
    _print_features(shown["logged"]["features"], shown["from_row"]["features"])


def _print_features(logged: dict[str, Any] | None, computed: dict[str, Any] | None) -> None:
    if logged is None:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("feature", "logged", "from the row"):
        table.add_column(heading, overflow="fold")
    for name, value in logged.items():
        again = (
            ""
            if computed is None
            else _text(computed.get(name))
            if name in computed
            else ("as served")
        )
        table.add_row(escape(name), _text(value), again)
    _print_table(table)


def _print_table(table: Table) -> None:
    # Where nobody looks at a terminal there is no width to keep to.
    page = console if console.is_terminal else Console(highlight=False, width=_UNBROKEN)
    page.print(table)


def _print_period(period: dict[str, Any]) -> None:
    counts = ", ".join(f"{n:,} {name}" for name, n in period["by_verdict"].items() if n)
    console.print(f"{period['n_decisions']:,} decisions replayed: {counts or 'none found'}.")
    elsewhere = period["n_decisions"] - period["n_same_platform"]
    if elsewhere:
        console.print(
            f"{elsewhere:,} were decided on another platform, or the log does not tell where; "
            f"the largest difference is {period['largest_difference']:.2g}."
        )
    for text, n in period["missing"].items():
        console.print(f"  missing for {n:,}: {escape(text)}")
    for each in period["mismatches"]:
        told = [*each["features"], *each["from_logits"], *each["from_features"]]
        console.print(f"  differs: {each['decision_id']}: {escape('; '.join(told))}")
    unshown = period["n_mismatches"] - len(period["mismatches"])
    if unshown:
        console.print(f"  and {unshown:,} more that differ")


def _where(platform: dict[str, Any]) -> str:
    if platform["same"]:
        return f"Decided and replayed on the same platform: {platform['here']}."
    logged = platform["logged"] or "a platform that the log does not name"
    return f"Decided on {logged}; replayed on {platform['here']}, where the last bits may differ."


def _text(value: Any) -> str:
    if isinstance(value, list):
        return escape(", ".join(_text(each) for each in value))
    return "" if value is None else escape(str(value))


def _reason(level: dict[str, Any], at: int) -> str:
    reasons = level.get("reasons", ())
    if at >= len(reasons):
        return ""
    return escape(f"{reasons[at]['text']} ({reasons[at]['effect']:.4g})")
