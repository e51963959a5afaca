"""Every answer is in the log, once, under its key, in an unbroken chain; in both databases."""

import asyncio
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serving.answers import Answer, RepeatedAnswer, encode, encode_answer
from serving.decisions.chain import LogBroken, verify_groups
from serving.refusals import RequestRefused
from serving.request_context import RequestContext


def one(model: Any, row: dict[str, Any], **context: Any) -> Any:
    return model.answer_rows([row], RequestContext(**context))[0]


def records(place: Any) -> list[Any]:
    return [record for group in place.store().groups() for record in group.decoded()]


def test_an_answer_is_found_again_with_all_that_led_to_it(shop: Any, shop_row) -> None:
    model = shop.serve()
    answer = one(model, shop_row(ORDER_ID=1, AMOUNT=300.0), key_id="till-3", received_at=1_000_000)

    found = model.log.find_decision(answer.decision_id)
    shown = json.loads(encode(found.to_json()))

    assert shown["decision_id"] == answer.decision_id
    assert (shown["id"], shown["key_id"], shown["sequence"]) == ("1", "till-3", 1)
    assert shown["received_at"] == "1970-01-01T00:00:01.000000+00:00"
    assert shown["event_time"] == "2026-03-01T12:00:00.000000+00:00"
    assert (shown["risk_score"], shown["decision"]) == (answer.risk_score, answer.decision)
    assert shown["model"] == {"name": "shop", "version": "1", "policy_version": "1"}
    assert shown["features"]["AMOUNT"] == 300.0
    assert shown["row"]["AMOUNT"] == 300.0
    assert np.diff(shown["logits"])[0] == pytest.approx(
        np.log(answer.risk_score / (1 - answer.risk_score)), abs=1e-5
    )
    assert "CUSTOMER" not in shown["row"]
    assert len(shown["entities"]["CUSTOMER"]) == 32
    assert found.stored.answer == encode(answer)
    assert model.log.find_decision("none") is None
    assert model.log.find_decision("00000000-0000-0000-0000-000000000000") is None


def test_a_repeated_row_gets_the_first_answer_to_the_byte(shop: Any, shop_row, new_home) -> None:
    first = one(shop.serve(), shop_row(ORDER_ID=1))
    new_home(shop.home, version="2", intercept=3.0)
    another_model = shop.serve()

    again = one(another_model, shop_row(ORDER_ID=1))
    fresh = one(another_model, shop_row(ORDER_ID=2))

    assert isinstance(again, RepeatedAnswer)
    assert encode_answer(again) == encode(first)
    assert fresh.model.version == "2"
    assert len(records(shop)) == 2


@pytest.mark.parametrize("code", ["id_reused", "idempotency_key_reused"])
def test_other_content_under_the_same_key_is_refused(
    place: Any, shop_row, new_home, shop_contract, code: str
) -> None:
    columns = dict(shop_contract["columns"])
    row, context = shop_row(ORDER_ID=1), {}
    if code == "idempotency_key_reused":
        del columns["id"]
        row, context = shop_row(ORDER_ID=...), {"idempotency_key": "a", "key_id": "till"}
    contract = shop_contract | {"columns": columns, "expectations": {}}
    new_home(place.home, contract=contract)
    model = place.serve()
    first = one(model, row, **context)

    again = one(model, row, **context)
    other = one(model, row | {"AMOUNT": 7.0}, **context)
    elsewhere = one(model, row | {"AMOUNT": 7.0}, **(context and context | {"key_id": "b"}))

    assert encode_answer(again) == encode(first)
    assert (other.code, other.status, other.retry) == (code, 409, False)
    assert isinstance(elsewhere, Answer if context else RequestRefused), "keys are the caller's own"
    assert len(records(place)) == (2 if context else 1)


def test_rows_of_a_batch_have_keys_by_their_place(
    sqlite_place: Any, shop_row, new_home, shop_contract
) -> None:
    columns = {name: value for name, value in shop_contract["columns"].items() if name != "id"}
    contract = shop_contract | {"columns": columns, "expectations": {}}
    new_home(sqlite_place.home, contract=contract)
    model = sqlite_place.serve()
    context = RequestContext(idempotency_key="batch-1")
    rows = [shop_row(ORDER_ID=...), shop_row(ORDER_ID=...)]

    first = model.answer_rows(rows, context, [0, 2])
    again = model.answer_rows(rows, context, [0, 2])
    unnamed = model.answer_rows(rows, RequestContext(), [0, 2])

    assert [encode_answer(each) for each in again] == [encode(each) for each in first]
    assert len({each.decision_id for each in (*first, *unnamed)}) == 4


@pytest.mark.parametrize(
    ("key", "code"), [(None, "missing_idempotency_key"), ("k" * 256, "invalid_idempotency_key"),
                      ("", "invalid_idempotency_key")],
)  # fmt: skip
def test_a_key_that_is_missing_or_no_good_is_refused(
    sqlite_place: Any, shop_row, new_home, shop_contract, *, key: str | None, code: str
) -> None:
    columns = {name: value for name, value in shop_contract["columns"].items() if name != "id"}
    contract = shop_contract | {"columns": columns, "expectations": {}}
    new_home(sqlite_place.home, contract=contract)
    model = sqlite_place.serve(require_idempotency_key=True)

    with pytest.raises(RequestRefused) as caught:
        one(model, shop_row(ORDER_ID=...), idempotency_key=key)

    assert (caught.value.code, caught.value.status) == (code, 400)


def test_duplicates_within_a_batch_get_one_decision(shop: Any, shop_row) -> None:
    rows = [shop_row(ORDER_ID=1), shop_row(ORDER_ID=1), shop_row(ORDER_ID=1, AMOUNT=7.0)]

    first, same, other = shop.serve().answer_rows(rows)

    assert encode_answer(same) == encode(first)
    assert other.code == "id_reused"
    assert len(records(shop)) == 1


def test_concurrent_duplicates_of_two_processes_get_one_decision(shop: Any, shop_row) -> None:
    models = [shop.serve(), shop.serve()]
    start = threading.Barrier(8)

    def send(at: int) -> list[bytes]:
        start.wait()
        model = models[at % 2]
        return [encode_answer(one(model, shop_row(ORDER_ID=n))) for n in range(20)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))

    assert all(each == answers[0] for each in answers)
    assert len(records(shop)) == 20


def test_a_model_without_state_is_answered_on_the_event_loop(shop: Any, shop_row) -> None:
    model = shop.serve()

    async def send() -> list[Any]:
        rows = [shop_row(ORDER_ID=n // 2) for n in range(60)]
        context = RequestContext(deadline=time.monotonic() + 5)
        return await asyncio.gather(*(model.answer_body(encode(row), context) for row in rows))

    answers = asyncio.run(send())

    assert [encode_answer(each) for each in answers[::2]] == [
        encode_answer(each) for each in answers[1::2]
    ]
    assert len(records(shop)) == 30
    assert len(list(shop.store().groups())) < 30, "what waits is committed together"


def test_rows_are_known_again_only_for_the_retention(sqlite_place: Any, shop_row, new_home) -> None:
    new_home(sqlite_place.home)
    model = sqlite_place.serve(idempotency_days=1e-9)

    first, second = (one(model, shop_row(ORDER_ID=1)) for _ in range(2))

    assert first.decision_id != second.decision_id


def test_each_process_writes_a_chain_that_shows_a_change(shop: Any, shop_row) -> None:
    for process in range(2):
        model = shop.serve()
        for number in range(3):
            one(model, shop_row(ORDER_ID=10 * process + number))
    store = shop.store()
    groups = list(store.groups())

    verified = verify_groups(groups)

    assert sorted(verified.values()) == [3, 3]
    assert [(head.n_records, head.number) for head in store.heads()] == [(3, 3)] * 2
    for at, change in [(0, "changed"), (1, "removed")]:
        wrong = list(groups)
        if change == "removed":
            del wrong[at]
        else:
            import msgspec

            content = wrong[at].records.replace(b"approve", b"decline")
            wrong[at] = msgspec.structs.replace(wrong[at], records=content)
        with pytest.raises(LogBroken, match="group"):
            verify_groups(wrong)


def test_a_state_that_lacks_the_end_of_the_log_gets_it(corner: Any, shop_row) -> None:
    model = corner.serve("corner")
    one(model, shop_row(ORDER_ID=1))
    for opened in corner.opened:
        opened.close()
    corner.opened.clear()
    for file in (corner.home / "state").iterdir():
        file.unlink()

    later = one(corner.serve("corner"), shop_row(ORDER_ID=2, PLACED_AT="2026-03-01T13:00:00Z"))

    # One row of 100 before it: 0.5 * 1 + 0.001 * 100, on top of -1.5.
    assert np.log(later.risk_score / (1 - later.risk_score)) == pytest.approx(-0.9, abs=1e-5)


def test_what_a_state_holds_for_sure_is_not_replayed(corner: Any, shop_row, caplog) -> None:
    import logging

    caplog.set_level(logging.INFO)
    for start in range(3):
        model = corner.serve("corner")
        one(model, shop_row(ORDER_ID=start))
        for opened in corner.opened:
            opened.close()
        corner.opened.clear()

    assert not [each for each in caplog.records if "replayed" in each.message]


def test_a_reused_id_of_a_model_with_state_is_not_written_down(corner: Any, shop_row) -> None:
    model = corner.serve("corner")
    first = one(model, shop_row(ORDER_ID=1))

    other = one(model, shop_row(ORDER_ID=1, AMOUNT=7.0))
    again = one(model, shop_row(ORDER_ID=1))
    in_batch = model.answer_rows([shop_row(ORDER_ID=1), shop_row(ORDER_ID=2)])

    assert other.code == "id_reused"
    assert encode_answer(again) == encode_answer(in_batch[0]) == encode(first)
    assert len(records(corner)) == 2


def test_a_retired_day_leaves_chains_that_go_on(shop: Any, shop_row) -> None:
    model, store = shop.serve(), shop.store()
    first = one(model, shop_row(ORDER_ID=1))
    (segment,) = store.segments()

    store.retire(segment.name)
    again = one(model, shop_row(ORDER_ID=1))

    assert (segment.n_groups, segment.n_records) == (1, 1)
    assert again.decision_id != first.decision_id, "what is gone is not known again"
    assert store.find_decision(uuid.UUID(first.decision_id).bytes) is None
    assert list(verify_groups(store.groups(), store.closed()).values()) == [1]
    (head,) = store.heads()
    assert (head.number, head.n_records) == (2, 2)
    with pytest.raises(LogBroken):
        verify_groups(store.groups())
