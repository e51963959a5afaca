"""Nobody reads a person in the log: not in its bytes, and after an erasure not with its secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.answers import encode, encode_answer
from serving.decisions.chain import verify_groups
from serving.decisions.layout import opened
from serving.decisions.sealing import LogSecretUnusable, Unreadable, read_log_secret
from serving.decisions.store import LogMismatch
from serving.request_context import RequestContext

CUSTOMER, ORDER, COUNTRY = "4929381733", 770077007700, "FRANCONIA"


def _row(shop_row: Any, **changes: Any) -> dict[str, Any]:
    given = {"CUSTOMER": int(CUSTOMER), "ORDER_ID": ORDER, "COUNTRY": COUNTRY} | changes
    return shop_row(AGE_DAYS=31337, **given)


def test_no_byte_of_the_log_tells_who_it_was(private: Any, shop_row) -> None:
    model = private.serve()
    (answer,) = model.answer_rows([_row(shop_row)], RequestContext())

    shown = encode(model.log.find_decision(answer.decision_id).to_json()).decode()
    content = private.content()

    for clear in (CUSTOMER, str(ORDER), COUNTRY):
        assert clear.encode() not in content
        assert clear not in shown
    assert b"DISTANCE" in content, "what is nobody's stays readable"
    assert json.loads(shown)["features"]["AGE_DAYS"] is None
    import struct

    assert struct.pack("<f", 31337.0) not in content
    assert struct.pack(">d", 31337.0) not in content


def test_a_repeated_row_with_a_personal_id_gets_it_back(private: Any, shop_row) -> None:
    model = private.serve()
    (first,) = model.answer_rows([_row(shop_row)], RequestContext())

    (again,) = model.answer_rows([_row(shop_row)], RequestContext())

    assert first.id == str(ORDER)
    assert encode_answer(again) == encode(first)


def test_destroying_a_key_erases_one_person_and_breaks_no_chain(private: Any, shop_row) -> None:
    model = private.serve()
    for number, customer in enumerate((1, 2, 1)):
        model.answer_rows([_row(shop_row, ORDER_ID=number, CUSTOMER=customer)], RequestContext())
    store, secret = private.store(), model.log.secret
    subject = secret.pseudonym("CUSTOMER", "1")
    stored = [record for group in store.groups() for record in group.decoded()]

    assert store.destroy_key(subject)
    assert not store.destroy_key(subject)

    keys = store.subject_keys([record.subject for record in stored])
    readable = []
    for record in stored:
        try:
            readable.append(opened(record, keys.get(record.subject), secret)["CUSTOMER"])
        except Unreadable:
            readable.append("erased")
    assert readable == ["erased", "2", "erased"]
    assert list(verify_groups(store.groups()).values()) == [3]

    model.answer_rows([_row(shop_row, ORDER_ID=9, CUSTOMER=1)], RequestContext())
    (*_, last) = [record for group in store.groups() for record in group.decoded()]
    again = opened(last, store.subject_keys([subject])[subject], secret)
    assert again["CUSTOMER"] == "1", "who comes back begins anew"


def test_another_secret_is_refused(shop: Any) -> None:
    shop.store()

    with pytest.raises(LogMismatch, match="another secret"):
        shop.recording(log_secret="ab" * 32)


@pytest.mark.parametrize(("content", "mode", "message"), [
    ("ab" * 31, 0o600, "64 hexadecimal digits"),
    ("xy" * 32, 0o600, "64 hexadecimal digits"),
    ("ab" * 32, 0o644, "chmod 600"),
])  # fmt: skip
def test_a_secret_that_is_none_is_refused(
    tmp_path: Path, content: str, mode: int, message: str
) -> None:
    file = tmp_path / "decisions.key"
    file.write_text(content)
    file.chmod(mode)

    with pytest.raises(LogSecretUnusable, match=message):
        read_log_secret(tmp_path)


def test_a_new_secret_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    first, second = (read_log_secret(tmp_path / "keys") for _ in range(2))

    assert first == second
    assert (tmp_path / "keys" / "decisions.key").stat().st_mode & 0o777 == 0o600
