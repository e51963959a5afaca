"""A small model, trained once through the command line, and the means to ask for more."""

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.simulation.transactions import simulate_transactions_to
from infra.settings import Settings
from serving.model_store import ModelStore

TINY = """
few_positives = 10
[strategy.network]
kind = "mlp"
n_members = 2
width = 16
[strategy.training]
max_epochs = 3
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def error(self) -> str:
        """The one line that says what is wrong; the last on standard error."""
        lines = self.err.strip().splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], self.err
        assert "Traceback" not in self.err
        return lines[-1].removeprefix("error: ")


Whitecrow = Callable[..., Done]


def run_command(home: Path, *arguments: Any) -> Done:
    """Run a command as the shell would, in this process."""
    from flows.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow and Prefect, when they are imported
        patch.setenv("WHITECROW_HOME", str(home))
        patch.setattr(sys, "argv", ["whitecrow", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def command() -> Whitecrow:
    """Runs commands on a state folder that need no orchestration."""
    return run_command


@pytest.fixture(scope="session")
def whitecrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whitecrow]:
    """Runs commands on a state folder; flows report to one Prefect server of the session."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        for name, value in {
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GX_ANALYTICS_ENABLED": "false",
        }.items():
            patch.setenv(name, value)
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=300):
            yield run_command


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run configuration that is done in a second."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 simulated card transactions, about 600 of them fraud."""
    path = tmp_path_factory.mktemp("data") / "stream.parquet"
    simulate_transactions_to(path, 20_000, seed=1, fraud_rate=0.03)
    return path


@pytest.fixture(scope="session")
def train(whitecrow: Whitecrow, tiny: Path) -> Callable[..., Done]:
    """Trains a tiny network on a table."""

    def run(home: Path, data: Path | str, *more: Any, contract: Any = "simulated_stream") -> Done:
        return whitecrow(
            home, "train", data, "-c", contract, "--config", tiny, "--device", "cpu", "--json",
            *more,
        )  # fmt: skip

    return run


@dataclass(frozen=True)
class Trained:
    """A released model and what it was made from."""

    home: Path
    stream: Path
    answer: dict[str, Any]

    @property
    def store(self) -> ModelStore:
        """The bundles and policies."""
        return ModelStore(self.home)

    @property
    def settings(self) -> Settings:
        """Where the state is."""
        return Settings(home=self.home)

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return Path(self.answer["report"]).parent


@pytest.fixture(scope="session")
def trained(
    train: Callable[..., Done], stream: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """The model ``stream`` version 1, champion; not to be changed."""
    home = tmp_path_factory.mktemp("home")
    done = train(home, stream, "--name", "stream", "--actor", "ana", "--reason", "first")
    assert done.code == 0, done.err
    return Trained(home, stream, done.json)


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Sends one row of a conformable table to a service of its own; returns the answer."""

    def asked(home: Path, name: str, row: pl.DataFrame) -> dict[str, Any]:
        import httpx

        from features.ingestion.conforming import conform
        from serving.launch import free_port, running_service, wait_until_ready
        from serving.requests import request_rows

        bundle, port = ModelStore(home).bundle(name, "1"), free_port()
        conformed = conform(row, bundle.contract)
        (sent,) = request_rows(conformed, bundle.contract, bundle.feature_set.input_types)
        with (
            (tmp_path / "log").open("wb") as log,
            running_service(
                (name,),
                port=port,
                home=home,
                state_uri=str(tmp_path / "state.db"),
                log=log.fileno(),
            ),
        ):
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, timeout=90)
            response = httpx.post(f"{url}/v1/score", json=sent, timeout=20)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    return asked


@pytest.fixture(scope="session")
def frame(stream: Path) -> pl.DataFrame:
    """The simulated stream as a table."""
    return pl.read_parquet(stream)
