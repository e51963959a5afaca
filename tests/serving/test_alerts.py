"""Alerts leave the decision log, come back as outcomes, and reach a webhook exactly once."""

import hmac
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from features.contract import parse_contract
from features.ingestion.data_error import DataError
from flows.alerts import import_outcomes, list_alerts, send_alerts
from flows.cli import app
from flows.label_history import NothingReported, label_history
from flows.labels import LeftOut, import_labels
from flows.moments import RequestError
from infra.settings import Settings
from serving.alert_webhook import WebhookRefused, WebhookUnusable
from serving.decisions.layout import logged_id
from serving.decisions.opening import open_recording
from serving.decisions.sealing import LogSecret
from serving.model_references import UnknownModel
from serving.outcomes import OutcomeBook
from serving.refusals import RequestRefused
from serving.reported_labels import ReportedLabel, TakenLabels
from serving.served_models import ModelSource

Score = Callable[..., list[Any]]
SECRET = "of the receiver"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, webhook_secret=SECRET)


@pytest.fixture
def score(settings: Settings, new_home: Any, corner_contract: dict[str, Any]) -> Score:
    """Scores rows with a log, as a service of one contract does, and stops it."""

    def answer(rows: Sequence[dict[str, Any]], contract: Any = corner_contract) -> list[Any]:
        if not (settings.root / "models" / contract["name"]).exists():
            new_home(settings.root, contract=contract)
        recording = open_recording(settings)
        models = ModelSource(settings.root, [contract["name"]], recording=recording).load_all()
        answers = models.get(None).answer_rows(rows)
        models.close()
        recording.log.close()
        assert not any(isinstance(answer, RequestRefused) for answer in answers)
        return answers

    return answer


@pytest.fixture
def three(score: Score, shop_row: Any) -> list[Any]:
    """Decisions of an approved, a reviewed and a declined row: 1, 2 and 3."""
    return score([
        shop_row(ORDER_ID=1, AMOUNT=10.0, CUSTOMER=1),
        shop_row(ORDER_ID=2, AMOUNT=300.0, CUSTOMER=2),
        shop_row(ORDER_ID=3, AMOUNT=900.0, CUSTOMER=3),
    ])  # fmt: skip


def outcomes(folder: Path, **columns: list[Any]) -> str:
    path = folder / "outcomes.csv"
    pl.DataFrame(columns).write_csv(path)
    return str(path)


def test_open_alerts_are_what_was_not_approved(settings, three) -> None:
    alerts = list_alerts(settings)

    assert [(alert.id, alert.decision) for alert in alerts] == [("2", "review"), ("3", "decline")]
    assert [alert.decision_id for alert in alerts] == [each.decision_id for each in three[1:]]
    assert alerts[0].risk_score == three[1].risk_score
    assert alerts[0].reasons == tuple(reason.text for reason in three[1].reasons)
    assert alerts[0].event_time == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert (alerts[0].model, alerts[0].model_version, alerts[0].policy_version) == (
        "corner", "1", "1",
    )  # fmt: skip
    assert alerts[0].entities["CUSTOMER"] != alerts[1].entities["CUSTOMER"]
    assert len(alerts[0].entities["CUSTOMER"]) == 32


def test_model_and_moment_choose_among_them(settings, three) -> None:
    assert list_alerts(settings, model="another") == []
    assert list_alerts(settings, since=datetime(2100, 1, 1, tzinfo=UTC)) == []
    assert len(list_alerts(settings, model="corner", since=datetime(2026, 1, 1, tzinfo=UTC))) == 2


def test_outcomes_close_alerts_reach_the_state_and_count_once(settings, three, tmp_path) -> None:
    file = outcomes(
        tmp_path, id=[2, 1, 99], label=[1, 0, 1], reported_at=["2026-03-03T00:00:00Z"] * 3
    )

    first = import_outcomes(settings, file, "corner")
    again = import_outcomes(settings, file, "corner")
    by_labels = import_labels(settings, file, "corner")

    assert (first.read, first.accepted, first.duplicates, first.closed) == (3, 2, 0, 1)
    assert first.unknown == ("99",)
    assert (again.accepted, again.duplicates, again.closed) == (0, 2, 0)
    assert [alert.id for alert in list_alerts(settings)] == ["3"]
    assert (by_labels.duplicates, by_labels.unknown) == (2, 1)


def test_a_file_of_labels_closes_alerts_as_the_route_does(settings, three, tmp_path) -> None:
    file = outcomes(tmp_path, id=[2, 99], label=[1, 1], reported_at=["2026-03-03T00:00:00Z"] * 2)

    first, again = (import_labels(settings, file, "corner") for _ in range(2))

    assert (first.accepted, first.duplicates, first.unknown) == (1, 0, 1)
    assert (again.accepted, again.duplicates + again.unknown) == (0, 2)
    assert [alert.id for alert in list_alerts(settings)] == ["3"]


def test_labels_of_a_model_without_features_over_time_are_outcomes(
    settings, score, shop_row, shop_contract, tmp_path
) -> None:
    score([shop_row(ORDER_ID=2, AMOUNT=300.0), shop_row(ORDER_ID=3, AMOUNT=900.0)], shop_contract)
    file = outcomes(tmp_path, id=[2, 1], label=[1, 0], reported_at=["2026-03-03T00:00:00Z"] * 2)

    first, again = (import_labels(settings, file, "shop") for _ in range(2))

    assert (first.accepted, first.duplicates, first.unknown) == (2, 0, 0)
    assert (again.accepted, again.duplicates, again.unknown) == (0, 2, 0)
    assert [alert.id for alert in list_alerts(settings)] == ["3"]


def test_the_history_of_a_row_is_shown_by_its_id_or_its_decision(
    settings, three, tmp_path, capsys
) -> None:
    columns = {"id": [2, 2], "label": [1, 0], "source": ["bank", None]}
    days = ["2026-03-03T00:00:00Z", "2026-03-05T00:00:00Z"]
    import_labels(settings, outcomes(tmp_path, **columns, reported_at=days), "corner")

    whitecrow(settings, "labels", "history", "2", "--model", "corner", "--json")
    found = json.loads(capsys.readouterr().out)
    whitecrow(settings, "labels", "history", "2", "--model", "corner")
    said = capsys.readouterr().out

    assert (found["name"], found["id"], found["label"]) == ("corner", "2", 0)
    assert [(each["label"], each["source"]) for each in found["reports"]] == [
        (1, "bank"), (0, None),
    ]  # fmt: skip
    assert found["reports"][0]["reported_at"] == "2026-03-03T00:00:00+00:00"
    assert found["reports"][0]["received_at"] > "2026-03-05"
    assert "label 0, by these reports" in said
    assert "known from 2026-03-03T00:00:00+00:00, by bank; received" in said


def test_a_row_that_nobody_reported_has_no_history(settings, three) -> None:
    with pytest.raises(NothingReported, match="No label of row '2' of corner was ever reported"):
        whitecrow(settings, "labels", "history", "2", "--model", "corner")


def test_a_personal_id_shows_its_history_in_the_clear_and_by_its_pseudonym(
    settings, score, shop_row, corner_contract, tmp_path
) -> None:
    columns = corner_contract["columns"] | {"pii": ["ORDER_ID"]}
    score([shop_row(ORDER_ID=4711, AMOUNT=900.0)], corner_contract | {"columns": columns})
    (alert,) = list_alerts(settings)
    import_labels(settings, outcomes(tmp_path, id=["4711"], label=[1]), "corner")

    by_id, by_pseudonym = (
        label_history(settings, name, "corner") for name in ("4711", str(alert.id))
    )

    assert by_id.reports == by_pseudonym.reports != []


def test_two_reports_of_one_moment_are_said_to_contradict(
    settings, three, tmp_path, capsys
) -> None:
    day = ["2026-03-03T00:00:00Z"] * 2
    file = outcomes(tmp_path, id=[2, 2], label=[1, 0], reported_at=day)

    whitecrow(settings, "labels", "import", file, "--model", "corner")

    assert "1 accepted, 1 known before" in (said := capsys.readouterr().out)
    assert "1 say another label than a report of the very same moment" in said


def test_labels_for_another_state_than_the_services_are_said_to_be_of_no_row_in_it(
    settings, three, tmp_path, capsys, monkeypatch
) -> None:
    file = outcomes(tmp_path, id=[2, 3], label=[1, 0])
    monkeypatch.setenv("WHITECROW_STATE_URI", str(tmp_path / "another.db"))
    whitecrow(settings, "labels", "import", file, "--model", "corner")
    elsewhere = "".join(capsys.readouterr().out.split())
    monkeypatch.delenv("WHITECROW_STATE_URI")
    whitecrow(settings, "labels", "import", file, "--model", "corner")
    there = "".join(capsys.readouterr().out.split())

    assert "2ofrowsthatthestatedoesnothold,0leftout;in" in elsewhere
    assert "another.db" in elsewhere
    assert "importthemoncemorewiththesamesetting" in elsewhere
    assert "0ofrowsthatthestatedoesnothold" in there
    assert "samesetting" not in there


def test_a_later_report_changes_an_outcome_and_an_earlier_one_does_not(
    settings, three, tmp_path
) -> None:
    for day, accepted in [("03", 1), ("05", 1), ("04", 0)]:
        file = outcomes(tmp_path, id=[2], label=[1], reported_at=[f"2026-03-{day}T00:00:00Z"])

        assert import_outcomes(settings, file, "corner").accepted == accepted


def test_the_exported_file_filled_in_is_the_file_to_import(settings, three, tmp_path) -> None:
    out = tmp_path / "alerts.csv"
    whitecrow(settings, "alerts", "export", "--out", str(out))
    table = pl.read_csv(out, schema_overrides={"label": pl.Int8})
    table.with_columns(label=pl.Series([1, None], dtype=pl.Int8)).write_csv(out)

    done = import_outcomes(settings, str(out), "corner")

    assert table.columns[:2] == ["decision_id", "id"]
    assert (done.read, done.left_out) == (2, (LeftOut(2, "no label"),))
    assert (done.accepted, done.closed) == (1, 1)
    assert [alert.id for alert in list_alerts(settings)] == ["3"]


def test_a_label_said_again_without_a_moment_changes_nothing(settings, three, tmp_path) -> None:
    file = outcomes(tmp_path, id=[2, 3], label=[1, 0])

    first = import_outcomes(settings, file, "corner")
    kept = OutcomeBook(settings.root).outcomes("corner")
    again = import_outcomes(settings, file, "corner")

    assert (first.accepted, first.duplicates) == (2, 0)
    assert (again.accepted, again.duplicates) == (0, 2)
    assert OutcomeBook(settings.root).outcomes("corner") == kept
    other = import_outcomes(settings, outcomes(tmp_path, id=[2], label=[0]), "corner")
    assert (other.accepted, other.duplicates) == (1, 0)


def test_decisions_without_an_id_come_back_by_their_decision_id(
    settings, score, shop_row, shop_contract, tmp_path
) -> None:
    contract = shop_contract | {
        "columns": {k: v for k, v in shop_contract["columns"].items() if k != "id"},
        "expectations": {},
    }
    (answer,) = score([shop_row(ORDER_ID=..., AMOUNT=900.0)], contract)
    file = outcomes(tmp_path, decision_id=[answer.decision_id, "none"], label=[0, 0])

    done = import_outcomes(settings, file, "shop")

    assert (done.accepted, done.closed, done.unknown) == (1, 1, ("none",))
    assert list_alerts(settings) == []


def test_a_personal_id_leaves_as_a_pseudonym_and_returns_in_the_clear(
    settings, score, shop_row, corner_contract, tmp_path
) -> None:
    columns = corner_contract["columns"] | {"pii": ["ORDER_ID"]}
    score([shop_row(ORDER_ID=4711, AMOUNT=900.0)], corner_contract | {"columns": columns})
    (alert,) = list_alerts(settings)
    file = outcomes(tmp_path, id=["4711"], label=[1])

    done = import_outcomes(settings, file, "corner")

    assert alert.id is not None
    assert "4711" not in alert.id
    assert (done.closed, done.unknown) == (1, ())
    assert import_labels(settings, file, "corner").unknown == 0
    assert list_alerts(settings) == []


def test_labels_over_http_are_kept_without_personal_ids(tmp_path, corner_contract) -> None:
    columns = corner_contract["columns"] | {"pii": ["ORDER_ID"]}
    contract = parse_contract(corner_contract | {"columns": columns}, source="tests")
    book, secret = OutcomeBook(tmp_path), LogSecret(bytes(32))

    labels = [ReportedLabel("order-4711", 1, 5)]
    counts = book.take(contract, secret, labels, feed=lambda _: None, now=6)

    (kept,) = book.known("corner")
    assert counts == TakenLabels(accepted=1, duplicates=0, unknown=0)
    assert kept == logged_id(contract, secret, "order-4711") != "order-4711"
    assert b"order-4711" not in b"".join(f.read_bytes() for f in tmp_path.glob("outcomes.db*"))


@pytest.fixture
def server_log(postgresql: str) -> Iterator[str]:
    """URI of an empty database on a PostgreSQL server."""
    import psycopg

    name = f"alerts_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(postgresql)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_alerts_of_a_log_on_a_server_are_the_same(
    tmp_path, new_home, corner_contract, shop_row, server_log
) -> None:
    settings = Settings(home=tmp_path, log_uri=server_log)
    new_home(tmp_path, contract=corner_contract)
    recording = open_recording(settings)
    models = ModelSource(tmp_path, ["corner"], recording=recording).load_all()
    models.get(None).answer_rows([shop_row(ORDER_ID=2, AMOUNT=900.0)])
    models.close()
    recording.log.close()

    (alert,) = list_alerts(settings)
    done = import_outcomes(settings, outcomes(tmp_path, id=[2], label=[1]), "corner")

    assert alert.id == "2"
    assert (done.accepted, done.closed) == (1, 1)
    assert list_alerts(settings) == []


def test_a_file_without_a_label_is_refused(settings, three, tmp_path) -> None:
    with pytest.raises(DataError, match="no column 'IS_FRAUD' or 'label'"):
        import_outcomes(settings, outcomes(tmp_path, id=[1]), "corner")


def whitecrow(settings: Settings, *arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHITECROW_HOME", str(settings.root))
        patch.setenv("WHITECROW_WEBHOOK_SECRET", SECRET)
        app(list(arguments), standalone_mode=False)


def test_the_command_prints_csv_json_lines_or_one_object(settings, three, capsys) -> None:
    whitecrow(settings, "alerts", "export")
    table = pl.read_csv(capsys.readouterr().out.encode())
    whitecrow(settings, "alerts", "export", "--format", "jsonl")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    whitecrow(settings, "alerts", "export", "--json")
    counted = json.loads(capsys.readouterr().out)

    assert table["id"].to_list() == [2, 3]
    assert [line["id"] for line in lines] == ["2", "3"]
    assert counted == {"alerts": 2, "file": None, "delivered": None}


def test_ids_that_nobody_decided_are_named(settings, three, tmp_path, capsys) -> None:
    file = outcomes(tmp_path, id=[2, *range(100, 112)], label=[1] * 13)

    whitecrow(settings, "alerts", "import", file, "--model", "corner")

    said = capsys.readouterr().out
    assert "13 outcomes read" in said
    assert "1 accepted, 0 known before, 12 unknown, 0 left out; 1 alerts closed" in said
    assert "100, 101, 102, 103, 104, 105, 106, 107, 108, 109 and 2 more" in said


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (["--since", "yesterday"], RequestError, "--since: write a moment .*Got 'yesterday'"),
        (["--webhook", "ftp://x"], WebhookUnusable, "must begin with https://"),
        (["--model", "nosuch"], UnknownModel, r"No model 'nosuch' .*there are: corner"),
    ],
)
def test_bad_options_are_refused_with_a_way_out(settings, three, options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        whitecrow(settings, "alerts", "export", *options)


class Receiver:
    """A webhook that answers with given statuses, then 204; keeps what it took."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.n_asked = 0
        self.url = ""

    @property
    def decision_ids(self) -> list[str]:
        return [
            each["decision_id"] for _, body in self.taken for each in json.loads(body)["alerts"]
        ]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    said = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            said.n_asked += 1
            status = said.statuses.pop(0) if said.statuses else 204
            if 200 <= status < 300:
                said.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the test's output to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    said.url = f"http://127.0.0.1:{server.server_port}/alerts?token=secret"
    yield said
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_each_alert_once_and_signed(settings, three, receiver) -> None:
    receiver.statuses = [503]
    alerts = list_alerts(settings)

    assert send_alerts(settings, alerts, receiver.url) == 2
    assert send_alerts(settings, alerts, receiver.url) == 0

    assert receiver.decision_ids == [each.decision_id for each in three[1:]]
    assert receiver.n_asked == 2
    headers, body = receiver.taken[0]
    signed = headers["x-whitecrow-timestamp"].encode() + b"." + body
    expected = "sha256=" + hmac.new(SECRET.encode(), signed, "sha256").hexdigest()
    assert headers["x-whitecrow-signature"] == expected


def test_what_a_webhook_refuses_is_delivered_when_it_is_mended(settings, three, receiver) -> None:
    receiver.statuses = [403]
    alerts = list_alerts(settings)

    with pytest.raises(WebhookRefused, match="status 403: its 2 alerts stay"):
        send_alerts(settings, alerts, receiver.url)
    assert receiver.n_asked == 1
    assert send_alerts(settings, alerts, receiver.url) == 2


def test_a_redirection_is_not_followed(settings, three, receiver) -> None:
    receiver.statuses = [307]

    with pytest.raises(WebhookRefused, match="status 307"):
        send_alerts(settings, list_alerts(settings), receiver.url)


def test_two_webhooks_get_the_same_alerts_and_the_address_is_not_kept(
    settings, three, receiver
) -> None:
    alerts = list_alerts(settings)

    assert send_alerts(settings, alerts, receiver.url) == 2
    assert send_alerts(settings, alerts, receiver.url + "&of=another") == 2
    assert b"token=secret" not in b"".join(
        path.read_bytes() for path in settings.root.glob("outcomes.db*")
    )


def test_nobody_at_the_address_is_one_line(settings, three, monkeypatch) -> None:
    import stamina

    with stamina.set_testing(True, attempts=2), pytest.raises(WebhookRefused, match="ConnectError"):
        send_alerts(settings, list_alerts(settings), "http://127.0.0.1:9")


def test_alerts_are_never_sent_unsigned(settings, three) -> None:
    unsigned = Settings(home=settings.root)

    with pytest.raises(WebhookUnusable, match="set WHITECROW_WEBHOOK_SECRET"):
        send_alerts(unsigned, list_alerts(settings), "http://127.0.0.1:9")
