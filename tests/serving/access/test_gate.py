"""The gate lets in who has a living key of the right scope, no faster than it may ask."""

import base64
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from serving.access.exposure import AuthMode, ServiceExposed
from serving.access.gate import ANYBODY, Gate
from serving.access.keys import KeyStore, Scope
from serving.access.rates import Rate
from serving.refusals import RequestRefused

WHO = {"actor": "ada", "reason": "tests"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "whitecrow.db"


@pytest.fixture
def store(database: Path) -> KeyStore:
    return KeyStore(database)


@pytest.fixture
def gate_at(database: Path) -> Iterator[Callable[..., Gate]]:
    """Makes gates that look for changes all the time."""
    made = []

    def make(address: str = "127.0.0.1", **options: bool) -> Gate:
        made.append(Gate(database, address=address, seconds=0.01, **options))
        return made[-1]

    yield make
    for gate in made:
        gate.close()


def bearer(text: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {text}".encode()}


def refusal(gate: Gate, headers: dict[bytes, bytes], scope: Scope | None) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        gate.admit(headers, scope)
    return caught.value


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread will do."""
    give_up_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_at, "nobody saw the change"
        time.sleep(0.01)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_living_key_is_let_in_by_name(store: KeyStore, gate_at, scheme: str) -> None:
    key, text = store.create([Scope.SCORE], **WHO)
    caller = gate_at().admit({b"authorization": f"{scheme} {text}".encode()}, Scope.SCORE)

    assert (caller.key_id, caller.sees_details) == (key.key_id, False)


@pytest.mark.parametrize(
    "header", [b"", b"Bearer", b"Bearer ", b"Token wc_1_2", b"Basic d2NfMV8y", b"wc_1_2"]
)
def test_no_key_is_401_with_a_challenge(store: KeyStore, gate_at, header: bytes) -> None:
    store.create([Scope.SCORE], **WHO)
    refused = refusal(gate_at(), {b"authorization": header}, Scope.SCORE)

    assert (refused.code, refused.status, refused.retry) == ("missing_key", 401, False)
    assert (b"www-authenticate", b'Bearer realm="whitecrow"') in refused.headers
    assert (b"connection", b"close") in refused.headers


def test_another_secret_or_id_is_unknown(store: KeyStore, gate_at) -> None:
    key, text = store.create([Scope.SCORE], **WHO)
    gate = gate_at()
    others = [
        text[:-1] + ("a" if text[-1] != "a" else "b"), text.upper(), text + "x", text[:-1],
        text.replace(key.key_id, "0" * 10), f"wc_{key.key_id}_",
        f"wc_{key.key_id}_{key.secret_sha256}", "wc", "x" * 9000, "wc_\u00e9_1",
    ]  # fmt: skip

    for other in others:
        refused = refusal(gate, bearer(other), Scope.SCORE)
        assert (refused.code, refused.status) == ("unknown_key", 401), other
        assert any(b"invalid_token" in value for _, value in refused.headers)
        assert text.split("_", 2)[2] not in str(refused)


def test_an_expired_key_says_so_and_only_to_its_owner(store: KeyStore, gate_at) -> None:
    _, text = store.create([Scope.SCORE], lifetime=timedelta(microseconds=1), **WHO)
    gate = gate_at()

    assert refusal(gate, bearer(text), Scope.SCORE).code == "expired_key"
    assert refusal(gate, bearer(text[:-1]), Scope.SCORE).code == "unknown_key"


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ([Scope.SCORE], {Scope.SCORE, None}),
        ([Scope.LABEL], {Scope.LABEL, None}),
        ([Scope.SCORE, Scope.LABEL], {Scope.SCORE, Scope.LABEL, None}),
        ([Scope.AUDIT], {Scope.AUDIT}),
        ([Scope.AUDIT, Scope.LABEL], {Scope.AUDIT, Scope.LABEL, None}),
        ([Scope.ADMIN], {*Scope, None}),
    ],
)
def test_a_scope_opens_its_own_doors_and_admin_all(
    store: KeyStore, gate_at, scopes: list[Scope], allowed: set[Scope | None]
) -> None:
    _, text = store.create(scopes, **WHO)
    gate = gate_at()

    for wanted in (*Scope, None):
        if wanted in allowed:
            gate.admit(bearer(text), wanted)
        else:
            refused = refusal(gate, bearer(text), wanted)
            assert (refused.code, refused.status) == ("missing_scope", 403)
            named = wanted or Scope.SCORE
            assert any(b'scope="' + named.encode() in value for _, value in refused.headers)


def test_an_auditor_hears_what_models_say_of_themselves(store: KeyStore, gate_at) -> None:
    _, text = store.create([Scope.AUDIT], **WHO)

    caller = gate_at().admit(bearer(text), None, to_auditors=True)

    assert caller.sees_details


def test_a_key_may_ask_no_more_than_its_rate(store: KeyStore, gate_at) -> None:
    slow = store.create([Scope.SCORE], rate=Rate(0.01), **WHO)[1]
    other = store.create([Scope.SCORE], rate=Rate(0.01), **WHO)[1]
    gate = gate_at()
    gate.admit(bearer(slow), Scope.SCORE)

    refused = refusal(gate, bearer(slow), Scope.SCORE)

    headers = dict(refused.headers)
    assert (refused.code, refused.status, refused.retry) == ("rate_limited", 429, True)
    assert 90 <= int(headers[b"retry-after"]) <= 100
    gate.admit(bearer(other), Scope.SCORE)


def test_rows_are_counted_apart_from_requests(store: KeyStore, gate_at) -> None:
    _, text = store.create([Scope.SCORE], row_rate=Rate(10.0), **WHO)
    caller = gate_at().admit(bearer(text), Scope.SCORE)
    caller.take_rows(10)

    with pytest.raises(RequestRefused, match="more rows a second"):
        caller.take_rows(1000)


def test_other_peoples_changes_give_no_new_tokens(store: KeyStore, gate_at) -> None:
    _, text = store.create([Scope.SCORE], rate=Rate(0.01), **WHO)
    gate = gate_at()
    gate.admit(bearer(text), Scope.SCORE)
    _, new = store.create([Scope.SCORE], **WHO)
    until(lambda: _is_let_in(gate, new))

    assert refusal(gate, bearer(text), Scope.SCORE).code == "rate_limited"


def test_a_revocation_reaches_an_open_gate(store: KeyStore, gate_at) -> None:
    key, text = store.create([Scope.SCORE], **WHO)
    gate = gate_at()
    gate.admit(bearer(text), Scope.SCORE)

    store.revoke(key.key_id, **WHO)

    until(lambda: not _is_let_in(gate, text))
    assert refusal(gate, bearer(text), Scope.SCORE).code == "unknown_key"


def test_loopback_is_open_until_the_first_key_and_never_again(store: KeyStore, gate_at) -> None:
    gate = gate_at()
    assert gate.mode is AuthMode.OPEN
    assert gate.admit({}, Scope.ADMIN) is ANYBODY

    key, text = store.create([Scope.SCORE], **WHO)
    until(lambda: gate.mode is AuthMode.KEYS)
    assert gate.admit(bearer(text), Scope.SCORE).key_id == key.key_id
    store.revoke(key.key_id, **WHO)

    assert gate_at().mode is AuthMode.KEYS, "a revoked key is no reason to open"


def test_off_is_off(store: KeyStore, gate_at) -> None:
    store.create([Scope.SCORE], **WHO)
    gate = gate_at(auth=False)

    assert gate.mode is AuthMode.OFF
    assert gate.admit({}, Scope.ADMIN) is ANYBODY


def test_strangers_find_no_gate_without_keys(gate_at) -> None:
    with pytest.raises(ServiceExposed, match="whitecrow keys create"):
        gate_at("0.0.0.0")


def test_a_restored_database_is_read_anew(store: KeyStore, gate_at, database: Path) -> None:
    _, text = store.create([Scope.SCORE], **WHO)
    backup = database.with_name("backup.db")
    with sqlite3.connect(database) as source, sqlite3.connect(backup) as target:
        source.backup(target)
    source.close()
    target.close()
    _, late = store.create([Scope.SCORE], **WHO)
    gate = gate_at()
    gate.admit(bearer(late), Scope.SCORE)

    backup.replace(database)

    until(lambda: not _is_let_in(gate, late))
    gate.admit(bearer(text), Scope.SCORE)


def test_a_database_that_is_gone_changes_nothing_and_is_logged_once(
    store: KeyStore, gate_at, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, text = store.create([Scope.SCORE], **WHO)
    gate = gate_at()
    database.rename(database.with_name("elsewhere.db"))

    until(lambda: bool(caplog.records))
    time.sleep(0.1)

    assert [record.message for record in caplog.records] == ["cannot look for changes of API keys"]
    gate.admit(bearer(text), Scope.SCORE)


def test_a_browser_may_give_the_key_as_password_for_pages_only(store: KeyStore, gate_at) -> None:
    _, text = store.create([Scope.SCORE], **WHO)
    gate = gate_at()
    header = {b"authorization": b"Basic " + base64.b64encode(f"ada:{text}".encode())}

    gate.admit(header, None)
    assert refusal(gate, header, Scope.SCORE).code == "missing_key"
    assert refusal(gate, {b"authorization": b"Basic %%%"}, None).code == "unknown_key"
    challenged = refusal(gate, {}, None)
    assert (b"www-authenticate", b'Basic realm="whitecrow"') in challenged.headers


def _is_let_in(gate: Gate, text: str) -> bool:
    try:
        gate.admit(bearer(text), Scope.SCORE)
    except RequestRefused:
        return False
    return True
