"""``whitecrow backfill``: from a table to a proven state, through kills and bad input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from features.contract import read_contract
from features.online.events import Event, microseconds_of
from features.online.opening import open_state
from features.online.state import Applied
from infra.settings import Settings

CONTRACTS = Path(__file__).resolve().parents[2] / "features" / "contracts"
BACKFILL = "import sys; sys.argv[0] = 'whitecrow'; from flows.cli import main; main()"


@pytest.fixture(scope="session")
def long_contract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated stream's contract with windows so long that nearly all of it is kept."""
    text = (CONTRACTS / "simulated_stream.toml").read_text("utf-8")
    path = tmp_path_factory.mktemp("contract") / "long.toml"
    path.write_text(text.replace('"30d"', '"150d"').replace(":30d", ":150d"), "utf-8")
    return path


@pytest.fixture(params=["sqlite", "redis"])
def state_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        uri: str = request.getfixturevalue("redis_uri")
        return uri
    return str(tmp_path / "state.db")


@pytest.fixture
def n_done(state_uri: str, long_contract: Path) -> Iterator[Callable[[], int]]:
    """Returns how many rows a backfill has done, as another process sees it."""
    state = open_state(read_contract(long_contract), state_uri, folder=Path("unused"))

    def read() -> int:
        noted = state.progress()
        done: int = json.loads(noted)["n_done"] if noted else 0
        return done

    yield read
    state.close()


@pytest.fixture
def backfill_arguments(stream: Path, long_contract: Path, state_uri: str) -> list[str]:
    return ["backfill", str(stream), "-c", str(long_contract), "--state", state_uri, "--json"]


def test_a_state_is_built_and_proven_in_two_lines(command, stream, tmp_path, state_uri) -> None:
    done = command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--state", state_uri)

    assert done.code == 0, done.err
    loaded, proven = done.out.splitlines()
    assert " labels loaded in " in loaded
    assert loaded.endswith(" older than any feature looks back")
    assert proven.startswith("Proven: ")
    assert proven.endswith("all equal to the table's.")


def test_the_outcome_is_one_json_object_and_kept_as_a_record(command, stream, tmp_path) -> None:
    done = command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--json")

    assert done.code == 0, done.err
    found = done.json
    rows = found["rows"]
    assert rows["read"] == 20_000
    assert found["applied"] == rows["kept"] == 20_000 - rows["too_old"]
    assert found["proof"]["holds"]
    assert found["proof"]["n_values"] > 1_000
    assert json.loads(Path(found["record"]).read_text("utf-8")) == found
    assert Path(found["state"]).parent == tmp_path / "state"


def test_the_state_is_where_the_service_looks_for_it(
    command, stream, tmp_path, redis_uri, monkeypatch
) -> None:
    monkeypatch.setenv("WHITECROW_STATE_URI", redis_uri)

    done = command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--json")

    assert done.json["state"] == redis_uri
    assert Settings().state_uri == redis_uri
    assert not (tmp_path / "state").exists()


def test_a_past_moment_leaves_out_what_came_later(command, stream, tmp_path) -> None:
    done = command(
        tmp_path, "backfill", stream, "-c", "simulated_stream", "--as-of", "2025-03-01", "--json"
    )

    assert done.code == 0, done.err
    assert done.json["rows"]["later"] > 10_000
    assert done.json["as_of"] == "2025-03-01T00:00:00+00:00"
    assert done.json["newest_event_time"] < "2025-03-01"


def test_a_backfill_killed_again_and_again_ends_as_one_that_was_not(
    command, stream, tmp_path, backfill_arguments, n_done
) -> None:
    reached = []
    for _ in range(2):
        before = n_done()
        process = subprocess.Popen(
            [sys.executable, "-c", BACKFILL, *backfill_arguments],
            env={**os.environ, "WHITECROW_HOME": str(tmp_path)},
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while n_done() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        reached.append(n_done())

    done = command(tmp_path, *backfill_arguments)

    assert done.code == 0, done.err
    found = done.json
    assert 0 < reached[0] < reached[1] < found["rows"]["kept"]
    assert found["resumed_at"] == reached[1]
    assert found["applied"] == found["rows"]["kept"] > 10_000
    assert found["duplicates"] == 0
    assert found["proof"]["holds"]


def test_a_service_at_work_meanwhile_is_let_in_and_loses_nothing(
    tmp_path, stream, long_contract, state_uri, backfill_arguments
) -> None:
    contract = read_contract(long_contract)
    newest = microseconds_of(pl.read_parquet(stream)["TX_DATETIME"].max())
    service = open_state(contract, state_uri, folder=tmp_path, patience=20.0)
    process = subprocess.Popen(
        [sys.executable, "-c", BACKFILL, *backfill_arguments],
        env={**os.environ, "WHITECROW_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
    )
    applied = []
    while process.poll() is None:
        n = len(applied)
        live = Event(f"live {n}", newest + 1 + n, 100, ("live", f"shop {n}"), (f"shop {n}", "chip"))
        (past,) = service.past([live])
        applied.append((service.apply([live])[0], len(past[0].times)))
        time.sleep(0.002)
    out, _ = process.communicate()
    service.close()

    assert applied == [(Applied.APPLIED, n) for n in range(len(applied))]
    assert len(applied) > 20
    found = json.loads(out)
    assert found["proof"]["holds"]
    assert found["applied"] == found["rows"]["kept"]


def test_a_second_run_finds_all_done_and_proves_it_again(command, stream, tmp_path) -> None:
    first = command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--json").json

    second = command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--json").json

    assert second["resumed_at"] == first["applied"] == second["applied"]
    assert second["proof"] == first["proof"]


def test_a_state_that_is_not_the_table_s_is_not_proven(command, stream, tmp_path) -> None:
    command(tmp_path, "backfill", stream, "-c", "simulated_stream")
    fewer = tmp_path / "fewer.parquet"
    pl.read_parquet(stream).filter(pl.col("TX_AMOUNT") < 100).write_parquet(fewer)

    shown = command(tmp_path, "backfill", fewer, "-c", "simulated_stream")
    told = command(tmp_path, "backfill", fewer, "-c", "simulated_stream", "--json")

    assert (shown.code, told.code) == (1, 1)
    assert "Not proven: " in shown.out.splitlines()[-1]
    assert "differ from the table's" in shown.out
    assert not told.json["proof"]["holds"]


def test_rows_without_event_time_and_repeated_ids_are_told(command, stream, tmp_path) -> None:
    rows = pl.read_parquet(stream)
    odd = pl.concat(
        [
            rows,
            rows[-3:],
            rows[-2:].with_columns(TX_DATETIME=pl.lit(None, rows["TX_DATETIME"].dtype)),
        ]
    )
    odd.write_parquet(tmp_path / "odd.parquet")

    done = command(tmp_path, "backfill", tmp_path / "odd.parquet", "-c", "simulated_stream")

    assert done.code == 0, done.err
    assert "3 repeating an id" in done.out
    assert "2 without event time" in done.out


def _without_moments(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(TX_DATETIME=pl.lit(None, rows["TX_DATETIME"].dtype))


def _from_the_future(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("TX_DATETIME").dt.offset_by("90y"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_moments, r"None of 50 rows has an event time"),
        (_from_the_future, r"50 row\(s\) lie in the future.*--as-of"),
        (lambda rows: rows.drop("CUSTOMER_ID"), r"no column 'CUSTOMER_ID'"),
        (lambda rows: rows.drop("TX_FRAUD"), r"no column 'TX_FRAUD'"),
        (lambda rows: rows.with_columns(TX_AMOUNT=pl.lit("ten")), r"'ten' is not a number"),
        (lambda rows: rows.with_columns(TX_FRAUD=pl.int_range(pl.len())), r"has 50 values"),
        (lambda rows: rows[:0], r"holds no rows"),
    ],
    ids=["no moments", "future", "no entity", "no label", "no number", "many labels", "empty"],
)
def test_a_table_that_does_not_fit_is_one_line(command, stream, tmp_path, change, message) -> None:
    data = tmp_path / "rows.parquet"
    change(pl.read_parquet(stream)[-50:]).write_parquet(data)

    done = command(tmp_path, "backfill", data, "-c", "simulated_stream")

    assert done.code == 2
    assert re.search(message, done.error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "credit_default"], r"declares no features over time.*\[\[velocity\]\]"),
        (["-c", "simulated_stream", "--as-of", "soon"], r"write a moment like"),
        (["-c", "simulated_stream", "--as-of", "2099-01-01"], r"must not lie in the future"),
        (["-c", "simulated_stream", "--as-of", "2001-01-01"], r"All rows lie after"),
        (["-c", "simulated_stream", "--state", "mysql://host/state"], r"redis:// URI or a file"),
        (["-c", "simulated_stream", "--state", "redis://host:port"], r"redis://host:6379/0"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(
    command, stream, tmp_path, arguments, message
) -> None:
    done = command(tmp_path, "backfill", stream, *arguments)

    assert done.code == 2
    assert re.search(message, done.error)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and then nothing"])
def test_a_table_that_cannot_be_read_is_one_line(command, tmp_path, content) -> None:
    data = tmp_path / "rows.parquet"
    if content is not None:
        data.write_bytes(content)

    done = command(tmp_path, "backfill", data, "-c", "simulated_stream")

    assert done.code == 2
    assert str(data) in done.error


def test_a_state_of_another_feature_set_is_refused_by_name(
    command, stream, tmp_path, long_contract
) -> None:
    state = tmp_path / "state.db"
    command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--state", state)

    done = command(tmp_path, "backfill", stream, "-c", long_contract, "--state", state)

    assert done.code == 2
    assert re.search(r"was made for feature set \w{12}, .* needs \w{12}", done.error)


def test_a_server_that_is_down_is_one_line(command, stream, tmp_path, new_redis_server) -> None:
    uri = new_redis_server().uri

    done = command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--state", uri)

    assert done.code == 1
    assert "does not answer" in done.error


def test_a_server_that_goes_away_half_way_is_one_line_and_the_command_goes_on(
    command, stream, tmp_path, new_redis_server, long_contract
) -> None:
    server = new_redis_server()
    server.start()
    arguments = ("backfill", stream, "-c", long_contract, "--state", server.uri)

    with pytest.MonkeyPatch.context() as patch:
        from features.online import redis

        load = redis.RedisState.load

        def kill_at_4_000(state, events, reports, progress):
            if json.loads(progress)["n_done"] == 4_000:
                server.kill()
            return load(state, events, reports, progress)

        patch.setattr(redis.RedisState, "load", kill_at_4_000)
        failed = command(tmp_path, *arguments)
    server.start()
    done = command(tmp_path, *arguments, "--json")

    assert failed.code == 1
    assert "does not answer" in failed.error
    assert done.code == 0, done.err
    assert done.json["resumed_at"] == 3_500
    assert done.json["duplicates"] == 0


def test_a_state_that_has_moved_on_refuses_history_that_it_would_not_keep(
    command, stream, tmp_path
) -> None:
    command(tmp_path, "backfill", stream, "-c", "simulated_stream")

    done = command(tmp_path, "backfill", stream, "-c", "simulated_stream", "--as-of", "2025-02-01")

    assert done.code == 1
    assert "would keep nothing" in done.error


def test_it_needs_nothing_that_training_needs() -> None:
    code = (
        "import sys, flows.backfill, flows.commands.data, flows.moments, flows.row_progress; "
        "print({'torch', 'prefect', 'mlflow', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "set()"
