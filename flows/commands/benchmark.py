"""The command that compares strategies on the same rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson, AsOf, Contract, Data
from infra.settings import Settings

if TYPE_CHECKING:
    from flows.bakeoff.run import BakeOff


def add_commands(app: typer.Typer) -> None:
    """Register this module's command."""
    app.command()(benchmark)


def benchmark(
    data: Data,
    contract: Contract,
    strategies: Annotated[
        str, typer.Option(help="Names, or files as for --config; comma-separated.")
    ] = "erm,metabalance,eos,lightgbm",
    seeds: Annotated[int, typer.Option(help="Repetitions.", min=1)] = 1,
    trials: Annotated[int, typer.Option(help="Settings that each strategy tries.", min=1)] = 1,
    split: Annotated[
        str | None, typer.Option(help="time or random in place of the contract's way.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Run configuration; its network and training become everyone's."),
    ] = None,
    cap: Annotated[float, typer.Option(help="Seconds that a fit may take.", min=1)] = 1800,
    cores: Annotated[int | None, typer.Option(help="Fits at once; default: all.", min=1)] = None,
    as_of: AsOf = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Compare strategies on the same rows: test metrics, paired differences, a page."""
    from flows.bakeoff.plan import bakeoff_plan
    from flows.bakeoff.run import run_bakeoff
    from flows.progress import fit_progress

    settings = Settings()
    plan = bakeoff_plan(
        data=data,
        contract=contract,
        strategies=_names(strategies),
        n_seeds=seeds,
        n_trials=trials,
        split=split,
        config=config,
        seconds_cap=cap,
        as_of=as_of,
    )
    with fit_progress() as report:
        found = run_bakeoff(
            plan, settings, n_cores=cores, actor=actor or settings.actor, on_done=report
        )
    if as_json:
        print_json(_as_json(found))
    else:
        _show(found)


def _names(strategies: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in strategies.split(",") if name.strip())
    if not names:
        raise typer.BadParameter("Name at least one, for example erm.", param_hint="--strategies")
    return names


def _as_json(found: "BakeOff") -> dict[str, Any]:
    return {
        "members": [
            {
                "name": standing.member.name,
                "family": standing.member.family,
                "finished": bool(standing.runs),
                "why_not": standing.why_not,
                "validation_average_precision": standing.validation if standing.runs else None,
                "metrics": {name: standing.mean(name) for name in standing.runs[0].metrics}
                if standing.runs
                else {},
                "gains": {
                    whom: gain and {"value": gain.value, "low": gain.low, "high": gain.high}
                    for whom, gain in found.against[standing.member.name].items()
                },
            }
            for standing in found.standings
        ],
        "page": str(found.page),
        "table": str(found.table),
        "run_id": found.run_id,
    }


def _show(found: "BakeOff") -> None:
    from rich.table import Table

    table = Table("strategy", "validation", "test average precision", "over erm", "seconds")
    for standing in found.standings:
        if not standing.runs:
            table.add_row(standing.member.name, "–", f"did not finish: {standing.why_not}")
            continue
        gain = found.against[standing.member.name].get("erm")
        seconds = [run.result.fit_seconds or 0 for run in standing.runs]
        table.add_row(
            standing.member.name,
            f"{standing.validation:.4f}",
            f"{standing.mean('average_precision'):.4f}",
            f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" if gain else "–",
            f"{sum(seconds) / len(seconds):.0f}",
        )
    console.print(table)
    console.print(f"Page: {found.page}\nTable: {found.table}")
