"""Commands around data: simulate, contracts, validate, featurize, backfill."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson, AsOf, Contract, Data, Out
from infra.errors import InputError
from infra.settings import Settings

if TYPE_CHECKING:
    from features.validation.outcome import ValidationOutcome
    from flows.run_folder import RunFolder

_SHOWN_RULES = 3


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    simulations = typer.Typer(no_args_is_help=True, help="Make realistic data with known fraud.")
    simulations.command("transactions")(simulate_transactions)
    simulations.command("loans")(simulate_loans)
    contracts = typer.Typer(no_args_is_help=True, help="Draft and check contracts.")
    contracts.command("draft")(draft)
    contracts.command("check")(check)
    app.add_typer(simulations, name="simulate")
    app.add_typer(contracts, name="contract")
    app.command()(validate)
    app.command()(featurize)
    app.command()(backfill)


def simulate_transactions(
    out: Out,
    rows: Annotated[int, typer.Option(help="Transactions to make.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Fixes the result.")] = 0,
    fraud_rate: Annotated[float, typer.Option(help="Share of frauds.")] = 0.005,
    start: Annotated[str, typer.Option(help="First day, such as 2025-01-01.")] = "2025-01-01",
    days: Annotated[int, typer.Option(help="Length in days.")] = 183,
    inflation: Annotated[
        float, typer.Option(help="Growth of genuine amounts, a year: 0.1 is a tenth.")
    ] = 0.0,
    turnover: Annotated[
        float,
        typer.Option(help="Share of customers and terminals replaced by new ones, a year."),
    ] = 0.0,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:DAY",
            help="A kind of fraud that appears on a day, such as relayed_taps:181. Repeatable.",
        ),
    ] = None,
    report_days: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Shortest and longest time until a fraud is reported, in days."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a card stream with several kinds of fraud (contract: simulated_stream)."""
    from features.simulation.transactions import simulate_transactions_to, usual_scenarios_and

    simulate_transactions_to(
        out,
        rows,
        seed=seed,
        fraud_rate=fraud_rate,
        start=start,
        days=days,
        yearly_inflation=inflation,
        yearly_customer_turnover=turnover,
        yearly_terminal_turnover=turnover,
        scenarios=usual_scenarios_and(dict(map(_scenario_and_day, scenario or []))),
        report_days=report_days,
    )
    _show_simulated(out, rows, contract="simulated_stream", as_json=as_json)


def _scenario_and_day(said: str) -> tuple[str, int]:
    name, _, day = said.partition(":")
    if not (name and day.isdecimal() and day.isascii()):
        raise InputError(
            f"--scenario must be NAME:DAY, such as relayed_taps:181, days from 0. Got {said!r}."
        )
    return name, int(day)


def simulate_loans(
    out: Out,
    rows: Annotated[int, typer.Option(help="Applications to make.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Fixes the result.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate loan applications and their outcomes (contract: simulated_loans)."""
    from features.simulation.loans import simulate_loans_to

    simulate_loans_to(out, rows, seed=seed)
    _show_simulated(out, rows, contract="simulated_loans", as_json=as_json)


def _show_simulated(out: Path, rows: int, *, contract: str, as_json: bool) -> None:
    if as_json:
        print_json({"out": out, "rows": rows, "contract": contract})
        return
    console.print(f"{rows:,} rows in {out}")
    console.print(f"Next: whitecrow train {out} --contract {contract}")


def draft(
    data: Data,
    label: Annotated[str, typer.Option(help="The column to predict.")],
    out: Out,
    time: Annotated[str | None, typer.Option(help="The column that says when.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the contract.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Propose a contract for a table nobody here has seen."""
    from features.drafting.draft import draft_contract
    from features.ingestion.tables import read_table
    from infra.storage import write_atomically

    if out.exists() and not force:
        raise InputError(f"{out} exists. Choose another --out, or replace it with --force.")
    proposal = draft_contract(read_table(data), label=label, time=time, name=name or out.stem)
    with write_atomically(out) as staging:
        staging.write_text(proposal.toml, "utf-8")
    if as_json:
        print_json({"out": out, "notes": list(proposal.notes)})
        return
    for note in proposal.notes:
        console.print(f"[yellow]note[/]  {note}")
    console.print(f"Drafted {out}. Read it, then: whitecrow contract check {out} {data}")


def check(
    contract: Annotated[str, typer.Argument(help="Contract file, or a shipped one's name.")],
    data: Annotated[str | None, typer.Argument(help="A table that it should fit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a contract, alone or against a table: its columns, types, times, label and windows."""
    from features.contract import read_contract
    from features.ingestion.conforming import conform
    from features.ingestion.tables import read_table
    from features.labels import attach_labels
    from features.velocity_table import check_history

    read = read_contract(contract)
    if data:
        table = read_table(data)
        resolved = read.resolve(table.columns)
        rows = conform(table, resolved)
        attach_labels(rows, resolved)
        check_history(rows, resolved)
    if as_json:
        print_json({"contract": read.name, "data": data, "valid": True})
    else:
        console.print(f"Contract {read.name} " + (f"fits {data}." if data else "is valid."))


def validate(
    data: Data,
    contract: Contract,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="DATA is a corrected quarantine file.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the rows that passed here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every row and the table as a whole; failing rows go to a quarantine file."""
    from features.contract import read_contract
    from flows.run_folder import RunFolder
    from flows.validation import DATA, requeue_rows, validate_sources
    from flows.workspace import Workspace

    declared, workspace = read_contract(contract), Workspace.open(Settings())
    run = RunFolder(workspace.new_run(f"validate-{declared.name}"))
    if requeue:
        outcome = requeue_rows(data, declared, run, workspace, contract_reference=contract)
    else:
        validated = validate_sources(
            {DATA: data}, declared, run, workspace, contract_reference=contract
        )
        outcome = validated.outcomes[DATA]
    if out is not None:
        shutil.copyfile(run.passed_of(DATA), out)
    _show_outcome(outcome, run, contract=contract, as_json=as_json)


def _show_outcome(
    outcome: "ValidationOutcome", run: "RunFolder", *, contract: str, as_json: bool
) -> None:
    from flows.validation import counts_in_words

    if as_json:
        print_json(
            {
                "read": outcome.read,
                "passed": outcome.passed,
                "quarantined": outcome.quarantined,
                "passed_file": outcome.passed_path,
                "quarantine_file": outcome.quarantine_path,
                "report": run.validation_page,
            }
        )
        return
    console.print(counts_in_words(outcome))
    console.print(f"Report: {run.validation_page}")
    for failure in outcome.row_failures[:_SHOWN_RULES]:
        first = failure.examples[0].row + 1 if failure.examples else "?"
        console.print(f"  {failure.count:,} × {failure.name}, first in row {first}")
    if outcome.quarantined:
        path = outcome.quarantine_path
        console.print(
            f"Correct {path}, then: whitecrow validate --requeue {path} --contract {contract}"
        )


def featurize(
    data: Data, contract: Contract, out: Out, as_of: AsOf = None, as_json: AsJson = False
) -> None:
    """Write a table of features, label and part, one row for each labelled row of DATA."""
    from flows.standalone import featurize_file

    counts = featurize_file(Settings(), data, contract, out, as_of=as_of)
    if as_json:
        print_json({"out": out, **counts})
        return
    console.print(f"{out}: " + ", ".join(f"{key} {value:,}" for key, value in counts.items()))


def backfill(
    data: Data,
    contract: Contract,
    as_of: AsOf = None,
    state: Annotated[
        str | None,
        typer.Option(help="A redis:// URI or a file; default: WHITECROW_STATE_URI, or a file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the online state of features over time from history, and prove it by a sample.

    Killed, the same command goes on where it stopped. A service may be at work meanwhile.
    """
    from flows.backfill import backfill_table, summary, verdict
    from flows.moments import parse_moment
    from flows.row_progress import row_progress

    with row_progress("backfill") as on_progress:
        outcome = backfill_table(
            Settings(),
            data,
            contract,
            as_of=parse_moment(as_of),
            state_uri=state,
            on_progress=on_progress,
        )
    if as_json:
        print_json(outcome.to_json())
    else:
        console.print(summary(outcome))
        console.print(verdict(outcome.proof))
    if not outcome.proof.holds:
        raise typer.Exit(1)
