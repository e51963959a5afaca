"""Commands of the gate: judge a challenger, approve its promotion."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson, AsOf, PolicyNumber, Reason, Seed, Since, Until
from infra.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(judge)
    app.command()(approve)


def judge(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    data: Annotated[
        list[str], typer.Option("--data", help="A table with labels; may be given again.")
    ],
    rule: Annotated[
        Path | None, typer.Option(help="What is wanted (TOML); holds for the model from now on.")
    ] = None,
    challenger: Annotated[
        int | None, typer.Option(help="Which version; default: what waits as challenger.", min=1)
    ] = None,
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    seed: Seed = 0,
    actor: Actor = None,
    reason: Reason = "judged on request",
    as_json: AsJson = False,
) -> None:
    """Hold a challenger against the champion on rows that neither has seen."""
    from flows.gate.judging import JudgeRequest, judge_challenger
    from flows.gate.rule import keep_rule
    from flows.gate.verdict import PROMOTE
    from flows.moments import parse_moment

    settings = Settings()
    who = actor or settings.actor
    request = JudgeRequest(
        name=name,
        data=tuple(data),
        actor=who,
        reason=reason,
        as_of=parse_moment(as_of),
        since=parse_moment(since, "--from"),
        until=parse_moment(until, "--to"),
        rule=None if rule is None else keep_rule(settings, name, rule, actor=who, reason=reason),
        challenger=None if challenger is None else str(challenger),
        seed=seed or 0,
    )
    verdict = judge_challenger(settings, request)
    if as_json:
        print_json(verdict.to_json())
    else:
        console.print(verdict.says)
        console.print(f"Evidence: {verdict.page}; ledger entry {verdict.ledger_sequence}.")
        if verdict.mlflow_run_id is None:
            console.print("MLflow does not answer and was not told; the verdict stands.")
        console.print(f"Next: {verdict.next_command}")
    if verdict.outcome != PROMOTE:
        raise typer.Exit(1)


def approve(
    reference: Annotated[str, typer.Argument(help="NAME@challenger or NAME:3.")],
    reason: Annotated[str, typer.Option(help="Why; written to the ledger.")],
    policy: PolicyNumber = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Agree to the promotion of a version with its policy; somebody else promotes it."""
    from flows.gate.consent import approve as approve_version
    from flows.provenance.mirror import tell_mlflow

    settings = Settings()
    approval = approve_version(
        settings,
        reference,
        policy=None if policy is None else str(policy),
        actor=actor or settings.actor,
        reason=reason,
    )
    model = approval.model
    if as_json:
        print_json(asdict(approval))
        tell_mlflow(settings, model.name, model.model_version)
        return
    console.print(
        f"{approval.actor} approves {model.name}:{model.model_version} with policy "
        f"{model.policy_version}; ledger entry {approval.ledger_sequence}. Somebody else: "
        f"whitecrow promote {model.name}:{model.model_version} --policy {model.policy_version} "
        "--reason '...'"
    )
    tell_mlflow(settings, model.name, model.model_version)
