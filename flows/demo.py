"""The demonstration: the whole path on a simulated card stream, to a scored HTTP request."""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from features.simulation.transactions import simulate_transactions
from flows.commands.console import console, print_json
from flows.orchestration import prepare_orchestration
from flows.progress import say
from flows.workspace import Workspace
from infra.settings import Settings
from infra.storage import write_atomically
from serving.launch import free_port, running_service, wait_until_ready
from serving.model_store import ModelStore
from serving.verification import load_scorer

NAME = "demo"
CONTRACT = "simulated_stream"
_FRAUD_RATE = 0.01
_INSTANT = timedelta(microseconds=1)


def run_demo(settings: Settings, *, n_rows: int, seed: int, as_json: bool) -> None:
    """Simulate, train, release, serve, score one row over HTTP, and say what is where."""
    started = time.monotonic()
    workspace = Workspace.open(settings)
    stream = _simulated(workspace, n_rows=n_rows, seed=seed)
    prepare_orchestration(workspace)

    # Prefect reads its settings when it is imported.
    from flows.request import train_request
    from flows.training_run import run_training

    request = train_request(
        data=str(stream), contract=CONTRACT, name=NAME, actor=settings.actor, reason="demonstration"
    )
    outcome = run_training(request, settings)
    row, moment = _suspicious_row(settings, stream)
    # A state of its own: other streams have other transactions under the same ids.
    state = stream.with_suffix(".db")
    _give_a_past(settings, stream, state, as_of=moment - _INSTANT)
    with _service(settings, state, workspace.root / "demo" / "service.log") as url:
        answer = _scored(url, row)
    facts = {
        **outcome.to_json(),
        "request": row,
        "answer": answer,
        "state": str(state),
        "mlflow": settings.mlflow_uri,
        "seconds": round(time.monotonic() - started, 1),
    }
    if as_json:
        print_json(facts)
    else:
        outcome.show(console)
        _show(facts)


def _simulated(workspace: Workspace, *, n_rows: int, seed: int) -> Path:
    path = workspace.root / "demo" / f"stream-{n_rows}-{seed}.parquet"
    frame = simulate_transactions(n_rows, seed=seed, fraud_rate=_FRAUD_RATE)
    with write_atomically(path) as staging:
        frame.write_parquet(staging)
    frauds = int(frame["TX_FRAUD"].sum())
    say("simulated", f"{frame.height:,} card transactions, {frauds:,} of them fraud")
    return path


def _suspicious_row(settings: Settings, stream: Path) -> tuple[dict[str, Any], datetime]:
    """Return the riskiest of the newest transactions, as a client would send it, and its moment."""
    from features.ingestion.conforming import conform
    from flows.past_rows import scored_columns, with_past
    from serving.requests import request_rows

    scorer = load_scorer(ModelStore.open(settings), NAME)
    contract = scorer.bundle.contract
    rows = conform(scored_columns(pl.read_parquet(stream), contract), contract)
    newest = with_past(rows, contract).tail(2_000)
    risk = scorer.score_frame(newest, with_reasons=False).risk_score
    riskiest = newest[[int(risk.argmax())]]
    row = request_rows(riskiest, contract, scorer.bundle.feature_set.input_types)[0]
    return row, riskiest[str(contract.event_time_column)][0]


def _give_a_past(settings: Settings, stream: Path, state: Path, *, as_of: datetime) -> None:
    """Build the online state as it was at a moment, so that the scored row has a past."""
    from flows.backfill import backfill_table, summary

    outcome = backfill_table(settings, str(stream), CONTRACT, as_of=as_of, state_uri=str(state))
    say("backfilled", summary(outcome))


@contextmanager
def _service(settings: Settings, state: Path, log: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as stream,
        running_service(
            (NAME,),
            port=port,
            home=settings.root,
            state_uri=str(state),
            auth=False,  # for one row and on loopback, whatever keys lie in the state folder
            log=stream.fileno(),
        ),
    ):
        wait_until_ready(url)
        say("serving", f"{NAME} on {url}, until this is scored")
        yield url


def _scored(url: str, row: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{url}/v1/score", json=row, timeout=10)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def _show(facts: dict[str, Any]) -> None:
    body = shlex.quote(json.dumps(facts["request"]))
    header = "Content-Type: application/json"
    console.print("\n[bold]One transaction, scored over HTTP[/]")
    console.print(f"curl -s http://127.0.0.1:3000/v1/score -H '{header}' -d {body}")
    console.print_json(data=facts["answer"])
    console.print("[bold]Where things are[/] (once in a shell: source .venv/bin/activate)")
    console.print(f"  report          {facts['report']}")
    console.print(f"  experiments     mlflow ui --backend-store-uri {facts['mlflow']}")
    console.print("[bold]The service[/] (its state for every command that follows, in that shell)")
    console.print(f"  export WHITECROW_STATE_URI={facts['state']}")
    console.print(f"  whitecrow serve --model {NAME}")
    console.print("[bold]On your own data[/]")
    console.print("  whitecrow contract draft DATA --label COLUMN --out mine.toml")
    console.print("  whitecrow train DATA --contract mine.toml")
    console.print("  whitecrow serve")
    console.print("  then labels, datasets, retraining, monitoring: README, 10. Keep it fresh")
    console.print(f"\nDone in {facts['seconds']} s.")
