"""Until when champion and challenger have seen rows."""

import shutil
from datetime import timedelta

import polars as pl
import pytest

from flows.gate.contenders import find_contenders
from infra.ledger import Ledger
from infra.settings import Settings
from serving.live import CHALLENGER, CHAMPION, LiveRecord
from serving.model_store import ModelStore


def seen_until(till) -> tuple:
    return tuple(each.seen_until for each in find_contenders(till.settings, "till", None))


def test_the_later_of_fitting_and_calibration_counts(new_till, start) -> None:
    till = new_till()
    day = timedelta(days=1)
    till.release(CHAMPION, fitted_until=start + 20 * day, calibrated_until=start + 30 * day)
    till.release(CHALLENGER, fitted_until=start + 50 * day, calibrated_until=start + 40 * day)

    assert seen_until(till) == (start + 30 * day, start + 50 * day)


def test_a_policy_of_later_rows_has_seen_them_too(till, start, later_policy) -> None:
    until = start + timedelta(days=77)
    later_policy(calibration={"until": until.isoformat()})

    champion, challenger = find_contenders(till.settings, "till", None)

    assert champion.scorer.model_version == challenger.scorer.model_version == "1"
    assert challenger.seen_until == until
    assert champion.seen_until < until


@pytest.mark.parametrize("calibration", [{}, {"until": None}])
def test_nobody_can_tell_where_the_ledger_does_not(later_policy, till, calibration) -> None:
    later_policy(calibration=calibration)

    assert seen_until(till)[1] is None


def test_a_policy_that_the_ledger_does_not_know_is_not_told(till, later_policy) -> None:
    later_policy(calibration=None)

    assert seen_until(till)[1] is None


@pytest.mark.xdist_group("trained")
def test_recalibrating_tells_the_ledger_until_when(whitecrow, trained, tmp_path) -> None:
    home = tmp_path / "home"
    shutil.copytree(trained.home, home)
    newer = tmp_path / "newer.parquet"
    table = pl.read_parquet(trained.stream).slice(1)
    table.write_parquet(newer)
    assert whitecrow(home, "recalibrate", "stream", newer, "--reason", "x").code == 0

    settings = Settings(home=home)
    champion, challenger = find_contenders(settings, "stream", None)

    (entry,) = [
        e for e in Ledger(settings.database).entries("stream") if "calibration" in e.details
    ]
    assert challenger.seen_until is not None
    assert challenger.seen_until.isoformat() == entry.details["calibration"]["until"]
    assert challenger.seen_until > champion.seen_until
    assert ModelStore(home).live.get("stream", alias=CHALLENGER) != LiveRecord("1", "1", 1)
