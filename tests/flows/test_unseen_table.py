"""A table nobody has seen: drafted, checked, trained on, scored and served."""

from importlib.resources import files

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, make_classification

from serving.launch import free_port, running_service, wait_until_ready
from serving.model_store import ModelStore
from serving.requests import request_rows

pytestmark = pytest.mark.xdist_group("trained")


def breast_cancer() -> pl.DataFrame:
    """569 rows of 30 numbers whose names have spaces, and no time."""
    data = load_breast_cancer()
    return pl.DataFrame(data.data, schema=list(data.feature_names)).with_columns(
        pl.Series("diagnosis", data.target)
    )


def invoices() -> pl.DataFrame:
    """3,000 rows of numbers, categories and dates under odd names."""
    numbers, label = make_classification(
        3_000, 6, weights=[0.9], n_informative=4, class_sep=1.5, random_state=0
    )
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "Invoice No.": [f"INV-{number:05d}" for number in range(3_000)],
            "issued on": pl.date_range(pl.date(2015, 1, 1), pl.date(2023, 3, 19), eager=True),
            **{f"ratio {at}.{at}": numbers[:, at] for at in range(6)},
            "pay.method": random.choice(["card", "bank transfer", "cash €"], 3_000),
            "Is Bad?": np.where(label == 1, "yes", "no"),
        }
    )


@pytest.mark.parametrize(
    ("table", "label", "more"),
    [
        (breast_cancer, "diagnosis", []),
        (invoices, "Is Bad?", ["--time", "issued on"]),
    ],
    ids=["breast-cancer", "invoices"],
)
def test_a_drafted_contract_leads_to_an_answer(
    whitecrow, train, tmp_path, *, table, label, more
) -> None:
    home, contract, data = tmp_path / "home", tmp_path / "mine.toml", tmp_path / "data.csv"
    table().write_csv(data)

    drafted = whitecrow(home, "contract", "draft", data, "--label", label, *more, "-o", contract)
    assert drafted.code == 0, drafted.err
    checked = whitecrow(home, "contract", "check", contract, data, "--json")
    assert checked.json["valid"], checked.err
    done = train(home, data, contract=contract)
    assert done.code == 0, done.err
    assert done.json["metrics"]["roc_auc"]["value"] > 0.7
    out = tmp_path / "scored.parquet"
    scored = whitecrow(home, "score", data, "-m", "mine", "-o", out)
    assert scored.code == 0, scored.err

    answer = _asked(home, data, tmp_path)

    assert answer["risk_score"] == pl.read_parquet(out)["risk_score"][0]


def _asked(home, data, tmp_path):
    from features.ingestion.conforming import conform
    from features.ingestion.tables import read_table

    bundle, port = ModelStore(home).bundle("mine", "1"), free_port()
    first = conform(read_table(data).head(1), bundle.contract)
    (row,) = request_rows(first, bundle.contract, bundle.feature_set.input_types)
    with (
        (tmp_path / "log").open("wb") as log,
        running_service(("mine",), port=port, home=home, log=log.fileno()),
    ):
        wait_until_ready(f"http://127.0.0.1:{port}", timeout=90)
        response = httpx.post(
            f"http://127.0.0.1:{port}/v1/score",
            json=row,
            headers={"Idempotency-Key": "1"},
            timeout=20,
        )
    assert response.status_code == 200, response.text
    return response.json()


def test_a_draft_never_replaces_a_contract_unless_told_to(whitecrow, stream, tmp_path) -> None:
    edited = tmp_path / "mine.toml"
    edited.write_text("# edited by hand\n")
    arguments = ("contract", "draft", stream, "--label", "TX_FRAUD", "--out", edited)

    refused = whitecrow(tmp_path, *arguments)

    assert (refused.code, edited.read_text()) == (2, "# edited by hand\n")
    assert "--force" in refused.error
    assert whitecrow(tmp_path, *arguments, "--force").code == 0
    assert "TX_AMOUNT" in edited.read_text()


def test_a_check_reads_the_label_and_the_times(whitecrow, stream, tmp_path) -> None:
    wrong = tmp_path / "wrong.toml"
    shipped = (files("features") / "contracts" / "simulated_stream.toml").read_text("utf-8")
    wrong.write_text(shipped.replace("positive = 1", 'positive = "fraud"'))

    done = whitecrow(tmp_path, "contract", "check", wrong, stream)

    assert done.code == 2
    assert "fraud" in done.error
