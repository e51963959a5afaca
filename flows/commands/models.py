"""Commands around models: train, register, recalibrate, score, promote, rollback."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import (
    AcceptDrift,
    Actor,
    AsJson,
    AsOf,
    Contract,
    Data,
    Include,
    ModelName,
    Out,
    PolicyNumber,
    Reason,
    SearchBudget,
    Seed,
    TestRows,
)
from infra.errors import WhitecrowError
from infra.settings import Settings

if TYPE_CHECKING:
    from flows.promotion import Change, Mirror
    from flows.request import TrainRequest

Reference = Annotated[str, typer.Argument(help="NAME, NAME@champion, NAME@challenger, NAME:3.")]


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(train)
    app.command()(register)
    app.command()(recalibrate)
    app.command()(score)
    app.command()(promote)
    app.command()(rollback)


def train(
    data: Data,
    contract: Contract,
    test: TestRows = None,
    strategy: Annotated[
        str | None, typer.Option(help="How to treat the imbalance; auto to search for it.")
    ] = None,
    search_budget: SearchBudget = None,
    include: Include = None,
    config: Annotated[
        Path | None, typer.Option(help="Run configuration (TOML), or a shipped one's name.")
    ] = None,
    seed: Seed = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_of: AsOf = None,
    accept_drift: AcceptDrift = False,
    name: ModelName = None,
    actor: Actor = None,
    reason: Reason = "trained on request",
    as_json: AsJson = False,
) -> None:
    """Validate, featurize, train, recalibrate, evaluate and register a model."""
    from flows.request import train_request

    settings = Settings()
    request = train_request(
        data=data,
        contract=contract,
        test=test,
        strategy=strategy,
        search_budget=search_budget,
        include=include,
        config=config,
        seed=seed,
        device=device,
        as_of=as_of,
        accepts_drift=accept_drift,
        name=name,
        actor=actor or settings.actor,
        reason=reason,
    )
    _release(request, settings, as_json=as_json)


def register(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    data: Data,
    contract: Contract,
    test: TestRows = None,
    output: Annotated[
        str | None,
        typer.Option(help="logits, log_odds or probability; default: found by its values."),
    ] = None,
    as_of: AsOf = None,
    accept_drift: AcceptDrift = False,
    name: ModelName = None,
    actor: Actor = None,
    reason: Reason = "registered on request",
    as_json: AsJson = False,
) -> None:
    """Calibrate, evaluate and register a model that was made elsewhere."""
    from flows.request import registration_request

    settings = Settings()
    request = registration_request(
        model,
        output=output,
        data=data,
        contract=contract,
        test=test,
        as_of=as_of,
        accepts_drift=accept_drift,
        name=name,
        actor=actor or settings.actor,
        reason=reason,
    )
    _release(request, settings, as_json=as_json)


def _release(request: "TrainRequest", settings: Settings, *, as_json: bool) -> None:
    from flows.orchestration import prepare_orchestration
    from flows.workspace import Workspace

    prepare_orchestration(Workspace.open(settings))

    # Prefect reads its settings when it is imported.
    from flows.training_run import run_training

    outcome = run_training(request, settings)
    if as_json:
        print_json(outcome.to_json())
    else:
        outcome.show(console)


def recalibrate(
    reference: Reference,
    data: Data,
    reason: Annotated[str, typer.Option(help="Why; written to the ledger.")],
    policy: Annotated[
        Path | None, typer.Option(help="Objectives and more (TOML); default: the contract's.")
    ] = None,
    anchor: Annotated[
        int | None,
        typer.Option(help="Keep the false-positive rates of this policy's thresholds.", min=1),
    ] = None,
    history: Annotated[
        str | None, typer.Option(help="Earlier rows, for features over time.")
    ] = None,
    as_of: AsOf = None,
    force: Annotated[
        bool, typer.Option("--force", help="Accept a post-processing that ranks worse.")
    ] = False,
    seed: Seed = 0,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make a new policy for a released model, with a preview of what it would change."""
    from flows.moments import parse_moment
    from flows.new_policy import Recalibration
    from flows.policy_release import recalibrate_version

    settings = Settings()
    announced = recalibrate_version(
        settings,
        Recalibration(
            reference=reference,
            data=data,
            actor=actor or settings.actor,
            reason=reason,
            policy_file=policy,
            anchor=None if anchor is None else str(anchor),
            history=history,
            as_of=parse_moment(as_of),
            force=force,
            seed=seed or 0,
        ),
    )
    if as_json:
        print_json(announced.to_json())
    else:
        announced.show(console)


def score(
    data: Data,
    model: Annotated[str, typer.Option("--model", "-m", help="NAME, NAME@alias or NAME:3.")],
    out: Out,
    history: Annotated[
        str | None, typer.Option(help="Earlier rows, for features over time.")
    ] = None,
    reasons: Annotated[
        bool, typer.Option(help="Explain rows that are not approved; costs a score a feature.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Score every row of a table with a released model and its policy."""
    from flows.scoring import score_table

    summary = score_table(Settings(), data, model, out, history=history, with_reasons=reasons)
    if as_json:
        print_json(summary.to_json())
        return
    console.print(
        f"{summary.rows:,} rows scored by {summary.name}:{summary.model_version} "
        f"(policy {summary.policy_version}) in {summary.seconds:.1f} s: "
        + ", ".join(f"{count:,} {word}" for word, count in summary.decisions.items())
    )
    console.print(f"Written: {out}")


def promote(
    reference: Reference,
    reason: Annotated[str, typer.Option(help="Why; written to the ledger.")],
    policy: PolicyNumber = None,
    despite_verdict: Annotated[
        bool, typer.Option("--despite-verdict", help="Overrule the gate's verdict against it.")
    ] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make a version, and the policy that decides with it, the one that answers."""
    from flows.promotion import promote as promote_version

    settings = Settings()
    promote_version(
        settings,
        reference,
        policy=None if policy is None else str(policy),
        actor=actor or settings.actor,
        reason=reason,
        mirror=_shown_and_mirrored(settings, as_json=as_json),
        despite_verdict=despite_verdict,
    )


def rollback(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    reason: Annotated[str, typer.Option(help="Why; written to the ledger.")],
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Bring back the version and the policy that were live before."""
    from flows.promotion import rollback as roll_back

    settings = Settings()
    roll_back(
        settings,
        name,
        actor=actor or settings.actor,
        reason=reason,
        mirror=_shown_and_mirrored(settings, as_json=as_json),
    )


def _shown_and_mirrored(settings: Settings, *, as_json: bool) -> "Mirror":
    """Return what says that a change is live, and then tells MLflow."""

    def mirror(change: "Change") -> None:
        _show(change, as_json=as_json)
        sys.stdout.flush()
        try:
            # MLflow takes seconds to import, and is not there where models are only served.
            from flows.promotion import registry_mirror
            from infra.tracking import open_tracking

            registry_mirror(open_tracking(settings), settings)(change)
        except KeyboardInterrupt:
            # What was asked for is done: this is no change that was interrupted.
            raise WhitecrowError("interrupted") from None

    return mirror


def _show(change: "Change", *, as_json: bool) -> None:
    before, after = change.before, change.after
    if as_json:
        print_json(
            {
                "name": change.name,
                "before": before.model_version if before else None,
                "before_policy_version": before.policy_version if before else None,
                "version": after.model_version,
                "policy_version": after.policy_version,
                "ledger_sequence": after.ledger_sequence,
            }
        )
        return
    was = (
        f" (was version {before.model_version} with policy {before.policy_version})"
        if before
        else ""
    )
    console.print(
        f"{change.name}: version {after.model_version} with policy {after.policy_version} "
        f"is live{was}; ledger entry {after.ledger_sequence}."
    )
