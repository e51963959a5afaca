"""Keys are shown once, kept as hashes, and every change of them is in the ledger."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.ledger import Ledger
from serving.access.keys import KeyRefused, KeyStore, Scope, hashed, split_key
from serving.access.rates import Rate

WHO = {"actor": "ada", "reason": "tests"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "whitecrow.db"


def test_the_secret_is_kept_nowhere(database: Path) -> None:
    key, text = KeyStore(database).create([Scope.SCORE], name="checkout", **WHO)

    key_id, secret = split_key(text) or ("", "")
    kept = b"".join(path.read_bytes() for path in database.parent.iterdir())
    assert text.startswith(f"wc_{key.key_id}_")
    assert (key_id, hashed(secret)) == (key.key_id, key.secret_sha256)
    assert len(secret) == 43, "32 random bytes in base64"
    assert key.key_id.encode() in kept
    assert secret.encode() not in kept


def test_a_key_is_read_back_as_it_was_made(database: Path) -> None:
    store = KeyStore(database)
    made = [
        store.create([Scope.SCORE, Scope.LABEL], rate=Rate(100.0), row_rate=Rate(5e3), **WHO)[0],
        store.create([Scope.ADMIN], name="ops", lifetime=timedelta(days=90), **WHO)[0],
    ]

    assert store.all() == made
    assert [key.may(Scope.LABEL) for key in made] == [True, True]
    assert [key.may(Scope.ADMIN) for key in made] == [False, True]


def test_a_key_is_active_then_expired_then_revoked(database: Path) -> None:
    store = KeyStore(database)
    key, _ = store.create([Scope.SCORE], lifetime=timedelta(hours=1), **WHO)
    now = datetime.now(UTC)

    assert key.state(now) == "active"
    assert key.state(now + timedelta(hours=2)) == "expired"
    assert store.revoke(key.key_id, **WHO).state(now) == "revoked"


def test_making_and_revoking_are_ledger_entries(database: Path) -> None:
    store = KeyStore(database)
    key, _ = store.create([Scope.SCORE], name="checkout", rate=Rate(2.0), **WHO)
    store.revoke(key.key_id, actor="bob", reason="left the company")

    made, revoked = Ledger(database).entries(key.key_id)
    assert (made.event, made.actor, made.reason) == ("api_key_created", "ada", "tests")
    assert made.details == {
        "name": "checkout", "scopes": ["score"], "requests_per_second": 2.0,
        "rows_per_second": None, "expires_at": None, "secret_sha256": key.secret_sha256,
        "created_at": key.created_at.isoformat(timespec="microseconds"),
    }  # fmt: skip
    assert (revoked.event, revoked.actor) == ("api_key_revoked", "bob")
    assert Ledger(database).verify() == 2


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"scopes": []}, "A key needs a scope: score, label, audit, admin"),
        ({"name": "n" * 65}, "at most 64 characters. Got 65"),
        ({"lifetime": timedelta(0)}, "Leave --expires out"),
        ({"lifetime": timedelta(days=10**7)}, "No calendar goes that far"),
    ],
)
def test_what_makes_no_key_leaves_no_trace(database: Path, wanted: dict, message: str) -> None:
    with pytest.raises(KeyRefused, match=message):
        KeyStore(database).create(**({"scopes": [Scope.SCORE]} | wanted | WHO))

    assert KeyStore(database).all() == []
    assert Ledger(database).entries() == []


def test_only_a_living_key_can_be_revoked(database: Path) -> None:
    store = KeyStore(database)
    key, _ = store.create([Scope.SCORE], **WHO)

    with pytest.raises(KeyRefused, match="no key 'nope'. See: whitecrow keys list"):
        store.revoke("nope", **WHO)
    store.revoke(key.key_id, **WHO)
    with pytest.raises(KeyRefused, match="was revoked at"):
        store.revoke(key.key_id, **WHO)


def test_a_whole_key_names_itself(database: Path) -> None:
    store = KeyStore(database)
    key, text = store.create([Scope.SCORE], **WHO)

    assert store.revoke(f" {text}\n", **WHO).key_id == key.key_id
    assert store.all()[0].revoked_at is not None


@pytest.mark.parametrize("prefix", ["wc_0123456789_", "wc_", ""])
def test_what_may_be_a_secret_is_never_said(database: Path, prefix: str) -> None:
    secret = "kV0q5mJb2d7Yt9sXn4c8Rw1Lz6Hf3GaPuEiQoTyUrBk"

    with pytest.raises(KeyRefused, match="whitecrow keys list") as caught:
        KeyStore(database).revoke(prefix + secret, **WHO)

    assert secret not in str(caught.value)


@pytest.mark.parametrize("text", ["", "wc", "wc_1", "xx_1_2", "Bearer wc_1_2", "wc1_2_3"])
def test_other_text_is_no_key(text: str) -> None:
    assert split_key(text) is None
