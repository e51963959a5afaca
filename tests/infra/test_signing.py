"""Signatures: what was signed verifies in its place, and nothing else does."""

import json
import os
import stat
from pathlib import Path

import pytest

from infra.signing import (
    KeyUnusable,
    SignatureRefused,
    SigningKey,
    Statement,
    TrustedKeys,
    read_signing_key,
    trusted_keys,
)

POLICY = b'{"threshold": 0.3}\n'


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def statement() -> Statement:
    return Statement.of("policy", "cards", "7", POLICY)


def test_what_was_signed_verifies_and_names_its_key(key, statement) -> None:
    trusted = TrustedKeys([SigningKey.generate().public, key.public])

    assert trusted.verify(statement, key.sign(statement), what="Policy 7") == key.key_id


@pytest.mark.parametrize(
    "other",
    [
        Statement.of("policy", "cards", "7", POLICY.replace(b"0.3", b"0.9")),
        Statement.of("policy", "cards", "8", POLICY),
        Statement.of("policy", "loans", "7", POLICY),
        Statement.of("bundle", "cards", "7", POLICY),
    ],
    ids=["bytes", "version", "name", "kind"],
)
def test_a_signature_fits_one_object_in_one_place(key, statement, other) -> None:
    with pytest.raises(SignatureRefused, match=r"^Policy 7 is not what key \w{16} signed"):
        TrustedKeys([key.public]).verify(other, key.sign(statement), what="Policy 7")


def test_a_key_that_nobody_trusts_is_refused_by_name(key, statement) -> None:
    stranger = SigningKey.generate()

    with pytest.raises(SignatureRefused, match=f"signed by key {stranger.key_id}, .* not trusted"):
        TrustedKeys([key.public]).verify(statement, stranger.sign(statement), what="Policy 7")


def test_an_unsigned_object_is_refused_where_a_key_is_trusted(key, statement) -> None:
    with pytest.raises(SignatureRefused, match="Policy 7 is not signed"):
        TrustedKeys([key.public]).verify(statement, None, what="Policy 7")


def test_without_a_trusted_key_nothing_is_verified(key, statement) -> None:
    assert TrustedKeys().verify(statement, None, what="Policy 7") is None
    assert TrustedKeys().verify(statement, b"no signature", what="Policy 7") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"key_id": 1, "signature": "00"}', b"null"],
)
def test_a_damaged_signature_file_is_one_line(key, statement, content) -> None:
    with pytest.raises(SignatureRefused, match="Policy 7 has a damaged signature"):
        TrustedKeys([key.public]).verify(statement, content, what="Policy 7")


@pytest.mark.parametrize("signature", ["", "zz", "00", "00" * 64])
def test_a_signature_that_is_none_does_not_verify(key, statement, signature) -> None:
    record = json.loads(key.sign(statement)) | {"signature": signature}

    with pytest.raises(SignatureRefused, match="is not what key"):
        TrustedKeys([key.public]).verify(statement, json.dumps(record).encode(), what="Policy 7")


@pytest.mark.parametrize("position", range(0, 64, 7))
def test_one_flipped_bit_of_a_signature_does_not_verify(key, statement, position) -> None:
    record = json.loads(key.sign(statement))
    signature = bytearray.fromhex(record["signature"])
    signature[position] ^= 1
    record["signature"] = signature.hex()

    with pytest.raises(SignatureRefused):
        TrustedKeys([key.public]).verify(statement, json.dumps(record).encode(), what="Policy 7")


def test_a_signature_file_says_in_clear_what_it_vouches_for(key, statement) -> None:
    record = json.loads(key.sign(statement))

    assert {name: record[name] for name in ("kind", "name", "version", "algorithm")} == {
        "kind": "policy", "name": "cards", "version": "7", "algorithm": "ed25519",
    }  # fmt: skip
    assert record["sha256"] == statement.sha256
    assert record["key_id"] == key.key_id


def test_a_kept_key_is_read_back_and_readable_by_its_owner_alone(key, statement, tmp_path) -> None:
    assert key.write_private(tmp_path)
    key.write_public(tmp_path)

    again = read_signing_key(tmp_path)

    assert again is not None
    assert again.key_id == key.key_id
    assert stat.S_IMODE((tmp_path / "signing.pem").stat().st_mode) == 0o600
    assert trusted_keys(tmp_path).verify(statement, again.sign(statement), what="it") == key.key_id


def test_a_kept_key_is_never_replaced(key, tmp_path) -> None:
    assert key.write_private(tmp_path)
    assert not SigningKey.generate().write_private(tmp_path)

    again = read_signing_key(tmp_path)

    assert again is not None
    assert again.public == key.public


def test_no_key_is_no_key(tmp_path) -> None:
    assert read_signing_key(tmp_path) is None
    assert trusted_keys(tmp_path).key_ids == ()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_key_that_others_may_read_is_not_used(key, tmp_path) -> None:
    key.write_private(tmp_path)
    (tmp_path / "signing.pem").chmod(0o640)

    with pytest.raises(KeyUnusable, match="chmod 600"):
        read_signing_key(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_one_line(tmp_path, content) -> None:
    path = tmp_path / "signing.pem"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyUnusable, match="is damaged or of another kind"):
        read_signing_key(tmp_path)


def test_a_key_of_another_kind_is_refused(tmp_path) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    other = X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "signing.pem").write_bytes(other)
    (tmp_path / "signing.pem").chmod(0o600)

    with pytest.raises(KeyUnusable, match="no Ed25519 key"):
        read_signing_key(tmp_path)


def test_pinned_keys_count_instead_of_those_on_the_disk(key, tmp_path) -> None:
    stranger = SigningKey.generate()
    stranger.write_public(tmp_path)
    key.write_public(tmp_path / "elsewhere")
    pinned_path = str(key.public_path(tmp_path / "elsewhere"))

    assert trusted_keys(tmp_path).key_ids == (stranger.key_id,)
    assert trusted_keys(tmp_path, key.public.hex()).key_ids == (key.key_id,)
    assert trusted_keys(tmp_path, f" {pinned_path} , {stranger.public.hex()}").key_ids == (
        key.key_id, stranger.key_id,
    )  # fmt: skip
    assert trusted_keys(tmp_path, " ").key_ids == (stranger.key_id,)


@pytest.mark.parametrize("pinned", ["nope.pub", "00ff", "zz" * 32])
def test_a_pinned_key_that_is_none_is_refused(tmp_path, pinned) -> None:
    with pytest.raises(KeyUnusable, match="is no public key"):
        trusted_keys(tmp_path, pinned)


def test_a_damaged_public_key_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef.pub").write_text("00\n")

    with pytest.raises(KeyUnusable, match="is no public key"):
        trusted_keys(tmp_path)
