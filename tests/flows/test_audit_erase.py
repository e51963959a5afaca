"""One entity is erased on request: unreadable for good, in the ledger, and no chain breaks."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.audit_erase import BEGUN, ERASED, CannotErase, erase_entity
from flows.audit_replay import replay_period
from flows.cli import app
from infra.ledger import Ledger
from infra.settings import Settings
from serving.decisions.chain import verify_groups
from serving.request_context import RequestContext
from tests.serving.conftest import CORNER, ROW, SHOP, make_home
from tests.serving.decisions import conftest
from tests.serving.decisions.conftest import LogPlace

WHO = {"actor": "ann", "reason": "asked for it"}
PERSONAL = {"columns": SHOP["columns"] | {"pii": ["AGE_DAYS"]}}
Served = Callable[..., Settings]

# Each kind of database in turn.
sqlite_place, postgres_place = conftest.sqlite_place, conftest.postgres_place
place = conftest.place


@pytest.fixture
def served(place: LogPlace, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Has a shop decide rows of customers 4711 and 4712, two each."""

    def run(contract: dict[str, Any] = SHOP | PERSONAL) -> Settings:
        make_home(place.home, contract=contract)
        decide(place, contract["name"])
        monkeypatch.setenv("WHITECROW_HOME", str(place.home))
        if place.uri:
            monkeypatch.setenv("WHITECROW_LOG_URI", place.uri)
        return Settings()

    return run


def decide(place: LogPlace, name: str, first: int = 0) -> None:
    model = place.serve(name)
    for at in range(first, first + 4):
        row = ROW | {"ORDER_ID": at, "CUSTOMER": 4711 + at % 2, "AMOUNT": 300.0}
        model.answer_rows([row], RequestContext())
    for each in place.opened:
        each.close()
    place.opened.clear()


def events(settings: Settings) -> list[str]:
    return [entry.event for entry in Ledger(settings.database).entries()]


def test_an_erased_entity_is_unreadable_and_the_chain_holds(
    served: Served, place: LogPlace
) -> None:
    settings = served()

    done = erase_entity(settings, "shop", "CUSTOMER=4711", **WHO)

    assert (done.n_decisions, done.n_state_keys, done.rules) == (2, 0, ())
    store = place.store()
    assert sum(verify_groups(store.groups()).values()) == 4
    begun, erased = Ledger(settings.database).entries()
    assert (begun.event, erased.event) == (BEGUN, ERASED)
    assert (erased.actor, erased.reason, erased.sequence) == (*WHO.values(), done.ledger_sequence)
    assert erased.details == {
        "column": "CUSTOMER", "pseudonym": done.pseudonym, "n_decisions": 2, "n_state_keys": 0,
    }  # fmt: skip
    assert "4711" not in json.dumps([begun.details, erased.details])
    period = replay_period(settings)
    assert period.by_verdict == {"exact": 2, "incomplete": 2}
    assert any("key of this decision's subject was destroyed" in text for text in period.missing)


def test_who_comes_back_is_somebody_new(served: Served, place: LogPlace) -> None:
    settings = served()
    erase_entity(settings, "shop", "CUSTOMER=4711", **WHO)

    with pytest.raises(CannotErase, match="Nothing was done"):
        erase_entity(settings, "shop", "CUSTOMER=4711", **WHO)
    decide(place, "shop", first=10)

    assert erase_entity(settings, "shop", "CUSTOMER=4711", **WHO).n_decisions == 2, "the new ones"
    assert events(settings) == [BEGUN, ERASED] * 2


def test_the_past_of_an_erased_entity_goes_too(served: Served) -> None:
    settings = served(CORNER)

    done = erase_entity(settings, "corner", "CUSTOMER=4711", **WHO)

    assert done.n_decisions == 2
    assert done.n_state_keys >= 1
    content = b"".join(path.read_bytes() for path in settings.state_folder.glob("*"))
    assert b":4711" not in content
    assert b":4712" in content


def test_an_erasure_that_was_interrupted_is_finished(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = served()
    with monkeypatch.context() as patch:
        patch.setattr("flows.audit_erase._forget", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            erase_entity(settings, "shop", "CUSTOMER=4711", **WHO)
    assert events(settings) == [BEGUN]

    assert erase_entity(settings, "shop", "CUSTOMER=4711", **WHO).n_decisions == 2
    assert events(settings) == [BEGUN, ERASED]


def test_rules_that_name_the_erased_are_told(served: Served) -> None:
    settings = served()
    file = settings.root / "rules" / "shop.toml"
    file.parent.mkdir()
    file.write_text(
        '[[deny]]\nname = "a"\ncolumn = "CUSTOMER"\nvalues = [4711]\nreason = "r"\n'
        "expires = 2999-01-31\n"
    )

    done = CliRunner().invoke(
        app, ["audit", "erase", "-m", "shop", "--entity", "CUSTOMER=4711", "--reason", "r"]
    )

    assert done.exit_code == 0
    assert "2 decisions in the log are unreadable" in done.stdout
    assert f"{file} still names it" in done.stdout
    assert "4711" not in done.stdout


@pytest.mark.parametrize(("entity", "message"), [
    ("CUSTOMER", "written COLUMN=VALUE"),
    ("CUSTOMER=", "written COLUMN=VALUE"),
    ("COUNTRY=DE", "Keys are those of CUSTOMER"),
    ("CUSTOMER=99", "holds anything of that CUSTOMER"),
])  # fmt: skip
def test_who_cannot_be_erased_is_one_line_and_nothing_is_done(
    served: Served, entity: str, message: str
) -> None:
    settings = served()

    with pytest.raises(CannotErase, match=message) as caught:
        erase_entity(settings, "shop", entity, **WHO)

    assert "99" not in str(caught.value)
    assert events(settings) == []


def test_nobody_is_erased_where_there_are_no_entities(served: Served) -> None:
    columns = SHOP["columns"] | {"entities": [], "drop": ["CUSTOMER"]}
    settings = served(SHOP)
    make_home(settings.root, contract=SHOP | {"name": "anonymous", "columns": columns})

    with pytest.raises(CannotErase, match="has no entities"):
        erase_entity(settings, "anonymous", "CUSTOMER=1", **WHO)
