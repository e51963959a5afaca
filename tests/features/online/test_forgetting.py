"""Somebody who is erased has no past any more; everybody else keeps theirs."""

import json
from typing import Any

from features.online.forgetting import ForgottenEntity
from features.online.state import Applied
from features.velocity import velocity_plan


def test_nothing_of_an_entity_is_left(state, event, report, features) -> None:
    known = [event(0, id="a", card="x", shop="s"), event(1, id="b", card="x|s", shop="t")]
    others = [event(2, id="c", card="y", shop="x"), event(3, id="d", card="y", shop="s")]
    assert state.apply([*known, *others]) == [Applied.APPLIED] * 4
    before = features(state, event(4, card="y", shop="x"))

    n_gone = state.forget_entity("card", "x")

    fresh = features(state, event(4, card="never seen", shop="never seen"))
    again = features(state, event(4, card="x", shop="never seen"))
    assert n_gone >= 2, "alone, and in the pair with its shop"
    assert {name: value for name, value in again.items() if "shop" not in name.split("_")[0]} == {
        name: value for name, value in fresh.items() if "shop" not in name.split("_")[0]
    }
    assert features(state, event(4, card="y", shop="x")) == before, "a shop of that name is another"
    assert state.forget_entity("card", "x") == 0
    state.report_labels([report("a", 1, 5)])
    assert state.apply([event(6, id="e", card="x", shop="s")]) == [Applied.APPLIED]


def test_labels_of_a_forgotten_entity_go_nowhere(state, event, report, features) -> None:
    state.apply([event(0, id="a", shop="Käse"), event(0, id="b", shop="other")])

    assert state.forget_entity("shop", "Käse")
    state.report_labels([report("a", 1, 1), report("b", 1, 1)])

    rates = [
        features(state, event(96, shop=shop))["shop_label_count_5d"] for shop in ("Käse", "other")
    ]
    assert rates == [0.0, 1.0]


def test_a_file_holds_no_byte_of_it_any_more(sqlite_store, watched, event) -> None:
    state = sqlite_store.open(watched)
    state.apply([event(at, card="4929381733", shop=f"s{at}") for at in range(5)])
    state.apply([event(9, card="other")])

    state.forget_entity("card", "4929381733")
    state.close()

    content = b"".join(file.read_bytes() for file in sqlite_store.folder.glob("*.db*"))
    assert b"4929381733" not in content
    assert b"other" in content


def test_a_value_is_found_in_pairs_by_its_place(watched: Any) -> None:
    forgotten = ForgottenEntity(velocity_plan(watched), "card", "a|b")
    (prefix,) = forgotten.paired

    assert forgotten.alone
    assert forgotten.is_named(f"{prefix}3:1:a|b|c")
    assert not forgotten.is_named(f"{prefix}1:3:a|b|c"), "card a, shop b|c"
    assert not forgotten.is_named(json.loads('"0:other"'))
