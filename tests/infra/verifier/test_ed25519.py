"""Ed25519 in whole numbers: RFC 8032's own vectors, and the same verdicts as OpenSSL."""

import random

import pytest

from infra.signing import SigningKey
from infra.signing import is_signed_by as openssl_says
from infra.verifier.ed25519 import is_signed_by

# RFC 8032, section 7.1: public key, message, signature.
VECTORS = {
    "TEST 1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    "TEST 2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    "TEST 3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    "TEST SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
}
_ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize("name", VECTORS)
def test_the_vectors_of_the_standard_verify(name: str) -> None:
    key, message, signature = map(bytes.fromhex, VECTORS[name])

    assert is_signed_by(key, message, signature)
    assert not is_signed_by(key, message + b"x", signature)


def test_it_says_what_openssl_says_of_changed_signatures() -> None:
    drawn = random.Random(3)
    key = SigningKey.generate()
    for number in range(60):
        message = drawn.randbytes(number)
        signature = bytearray(key._key.sign(message))
        assert is_signed_by(key.public, message, bytes(signature))
        signature[drawn.randrange(64)] ^= 1 << drawn.randrange(8)
        assert is_signed_by(key.public, message, bytes(signature)) == openssl_says(
            key.public, message, bytes(signature)
        )


@pytest.mark.parametrize(
    ("key", "signature"),
    [
        ("d75a98" + "00" * 29, VECTORS["TEST 1"][2]),
        ("d75a98", VECTORS["TEST 1"][2]),
        (VECTORS["TEST 1"][0], VECTORS["TEST 1"][2][:-2]),
        ("ff" * 32, VECTORS["TEST 1"][2]),  # no number below 2^255 - 19
        (VECTORS["TEST 2"][0], VECTORS["TEST 1"][2]),
    ],
)
def test_what_is_no_key_or_no_signature_does_not_verify(key: str, signature: str) -> None:
    assert not is_signed_by(bytes.fromhex(key), b"", bytes.fromhex(signature))


def test_a_signature_has_one_form() -> None:
    """Section 5.1.7: S below the group's order; otherwise a second signature could be made."""
    key, _, signature = map(bytes.fromhex, VECTORS["TEST 1"])
    larger = int.from_bytes(signature[32:], "little") + _ORDER

    assert not is_signed_by(key, b"", signature[:32] + larger.to_bytes(32, "little"))
