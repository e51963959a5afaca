"""Real tables as streams: cut into periods, with labels that become known one period later.

All of this is fixed beforehand, and nothing of it by what comes out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from features.contract import Contract, parse_contract, read_contract
from features.ingestion.conforming import conform


@dataclass(frozen=True)
class Stream:
    """A table in order of time.

    ``edges`` bound its periods; the service answers from ``edges[starts]`` on. At an edge the
    labels of all periods but the newest one are known: ``contract.label.delay`` says so.

    Attributes:
        name: Of the stream, and of its model.
        rows: Conformed, with the contract's label.
        contract: The shipped one, resolved, with a delay and without what is only measured.
        edges: Of the periods, ascending.
        starts: Which edge is the first moment of the service.
        n_judging: Periods that a version is judged on: the newest ones whose labels are known.
        acts: Whether what is declined never happens, so that nobody hears what it would have been.
        unit: Format of a period's name.
    """

    name: str
    rows: pl.DataFrame
    contract: Contract
    edges: tuple[datetime, ...]
    starts: int
    n_judging: int
    acts: bool
    unit: str

    @property
    def time(self) -> str:
        column = self.contract.event_time_column
        assert column is not None
        return column

    @property
    def is_positive(self) -> pl.Expr:
        return pl.col(self.contract.label.column) == self.contract.label.positive

    @property
    def served(self) -> range:
        """The periods that are served, by the edge that each begins with."""
        return range(self.starts, len(self.edges) - 1)

    def between(self, first: int, end: int) -> pl.DataFrame:
        """Return the rows from one edge until before another."""
        bounds = self.edges[first], self.edges[end]
        return self.rows.filter(pl.col(self.time).is_between(*bounds, closed="left"))

    def known_at(self, edge: int) -> int:
        """Return the edge that rows lie before whose labels are known at an edge."""
        return edge - 1

    def contract_at(self, edge: int) -> Contract:
        """Return the contract of a training at an edge: the newest known periods are its test part.

        Validation and calibration part only name what the folds hold out: with folds everything
        before the test part is fitted on, whatever it is called.
        """
        test = self.known_at(edge) - self.n_judging
        cuts = [self.edges[at].isoformat() for at in (test - 2, test - 1, test)]
        return _changed(self.contract, split={"by": "cuts", "cuts": cuts, "gap": "0s"})

    def label_of_period(self, at: int) -> str:
        return self.edges[at].strftime(self.unit)


def creditcard(data: Path) -> Stream:
    """Return two days of card payments in periods of four hours; the first day is the past."""
    shipped = read_contract("creditcard")
    start = datetime(2013, 9, 1, tzinfo=UTC)
    return _stream(
        pl.read_parquet(data / "creditcard.parquet"),
        shipped,
        name="creditcard",
        # Whose card was misused says so, and whose payment was declined is asked.
        label={"delay": "4h", "absent_means": "negative"},
        edges=tuple(start + timedelta(hours=hour) for hour in range(0, 49, 4)),
        starts=6,
        n_judging=2,
        acts=False,
        unit="day %-d, %H:00",
    )


def lending_club(data: Path) -> Stream:
    """Return the loans of 2018 by month of issue; January to May are the past."""
    return _loans(data, "lending_club", acts=False)


def lending_club_acted_on(data: Path) -> Stream:
    """Return the same, but of whom the service declines nobody ever hears."""
    return _loans(data, "lending_club_acted_on", acts=True)


STREAMS: dict[str, Callable[[Path], Stream]] = {
    "creditcard": creditcard,
    "lending_club": lending_club,
    "lending_club_acted_on": lending_club_acted_on,
}


def _loans(data: Path, name: str, *, acts: bool) -> Stream:
    months = [datetime(2018, month, 1, tzinfo=UTC) for month in range(1, 13)]
    return _stream(
        pl.read_parquet(data / "lending_club_2018.parquet"),
        read_contract("lending_club"),
        name=name,
        # Known at the second first of a month after that of issue. In life it takes years.
        label={"delay": "45d"},
        edges=(*months, datetime(2019, 1, 1, tzinfo=UTC)),
        starts=5,
        n_judging=1,
        acts=acts,
        unit="%B",
    )


def _stream(
    table: pl.DataFrame, shipped: Contract, *, label: dict[str, Any], **said: Any
) -> Stream:
    contract = shipped.resolve(table.columns)
    plain = contract.columns.model_dump(mode="json") | {"drop": [], "groups": []}
    contract = _changed(
        contract, label=contract.label.model_dump(mode="json") | label, columns=plain
    )
    rows = conform(table, contract).select(*contract.request_columns, contract.label.column)
    assert contract.event_time_column is not None
    return Stream(
        rows=rows.sort(contract.event_time_column, maintain_order=True), contract=contract, **said
    )


def _changed(contract: Contract, **blocks: dict[str, Any]) -> Contract:
    whole = contract.model_dump(mode="json") | blocks
    return parse_contract(whole, source=f"the replayed contract {contract.name}")
