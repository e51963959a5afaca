"""The page of a validation: verdict first, what broke, what to do; readable without a network."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from features.validation.outcome import Example, RowFailure, TableResult, ValidationOutcome
from features.validation.profile import ColumnProfile, DataProfile
from flows.validation_report import write_validation_report


def outcome(**changes: Any) -> ValidationOutcome:
    values: dict[str, Any] = {
        "contract": "card_stream",
        "source_sha256": "f" * 64,
        "read": 1000,
        "passed": 1000,
        "quarantined": 0,
        "as_of": datetime(2020, 1, 1, tzinfo=UTC),
        "quarantine_path": Path("runs/a b/quarantine.parquet"),
        "passed_path": Path("runs/a b/passed.parquet"),
        "profile": profile(mean=3.0, share=0.9),
    }
    return ValidationOutcome(**(values | changes))


def profile(*, mean: float, share: float) -> DataProfile:
    number = ColumnProfile(type="number", null_share=0, minimum=0, maximum=9, mean=mean, std=1)
    text = ColumnProfile(
        type="text", null_share=0, categories={"web": share, "shop": 1 - share}, n_distinct=2
    )
    return DataProfile(n_rows=5000, columns={"amount": number, "channel": text})


def result(name: str, *, passed: bool | None = True, **changes: Any) -> TableResult:
    rule, _, column = name.rstrip(")").partition("(")
    values: dict[str, Any] = {
        "name": name,
        "rule": rule,
        "column": column or None,
        "unit": "share",
        "before": None,
        "observed": 0.1,
        "observed_text": "10 %",
        "expected": "at most 5 %",
        "passed": passed,
    }
    return TableResult(**(values | changes))


def page(folder: Path, found: ValidationOutcome, before: DataProfile | None = None) -> str:
    path = folder / "validation.html"
    write_validation_report(
        path, {"stream.csv": found}, title="card_stream", contract="card_stream", profile=before
    )
    return path.read_text("utf-8")


def text_of(html: str) -> str:
    pieces: list[str] = []
    parser = HTMLParser()
    parser.handle_data = pieces.append  # type: ignore[method-assign]
    parser.feed(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    return re.sub(r"\s+", " ", " ".join(pieces))


FAILURE = RowFailure(
    name="range(amount)",
    rule="range",
    column="amount",
    expected="at least 0",
    count=1234,
    examples=(Example(row=17, value="<script>-5"), Example(row=18, value=None)),
)


def test_the_verdict_comes_first(tmp_path: Path) -> None:
    text = text_of(page(tmp_path, outcome()))

    assert text.index("stream.csv: passed.") < text.index("rows read")


def test_broken_rows_are_shown_with_examples_and_the_command(tmp_path: Path) -> None:
    found = outcome(passed=900, quarantined=100, row_failures=(FAILURE,))

    text = text_of(page(tmp_path, found))

    assert "passed, without 100 rows" in text
    assert "1,234" in text
    assert "17: <script>-5" in text
    assert "no value" in text
    assert (
        "whitecrow validate 'runs/a b/quarantine.parquet' --contract card_stream --requeue" in text
    )


def test_values_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    html = page(tmp_path, outcome(passed=900, quarantined=100, row_failures=(FAILURE,)))

    assert "<script" not in html
    assert "&lt;script&gt;-5" in html


def test_a_stopped_flow_names_the_rules_with_observed_and_expected(tmp_path: Path) -> None:
    broken = (result("label_rate", passed=False), result("row_count"), result("x", passed=None))

    text = text_of(page(tmp_path, outcome(stopped=True, table_results=broken)))

    assert "stopped. Nothing was learnt" in text
    assert "a whole: label_rate" in text
    assert "Share of positives among labelled rows 10 % at most 5 % broken" in text
    assert "not judged" in text


def test_accepted_drift_is_told_and_stops_nothing(tmp_path: Path) -> None:
    accepted = result("label_rate", passed=False, is_drift=True, accepted=True)

    text = text_of(page(tmp_path, outcome(table_results=(accepted,), compared_rows=5000)))

    assert "passed, as its drift was accepted" in text
    assert re.search(r"at most 5 % \S+ accepted", text)


def test_drift_shows_then_and_now(tmp_path: Path) -> None:
    shift = {"unit": "std", "observed": 1.0, "high": 0.5}
    drift = (
        result("mean_drift(amount)", passed=False, before=2.0, **shift),
        result("category_drift(channel)"),
        result("null_share(channel)"),
    )
    found = outcome(stopped=True, table_results=drift, compared_rows=5000)

    text = text_of(page(tmp_path, found, profile(mean=2.0, share=0.7)))

    assert "5,000 rows" in text
    assert re.search(r"amount\s+2\.0000\s+3\.0000\s+1\.00 \(≤\s0\.50\)", text)
    assert "drifted" in text
    assert "70 % → 90 %" in text


def test_without_a_released_version_drift_is_not_judged(tmp_path: Path) -> None:
    text = text_of(page(tmp_path, outcome(table_results=(result("row_count"),))))

    assert "no released version to compare with" in text


@pytest.mark.parametrize("pattern", [r"https?://", r"<link", r"@import", r"url\(", r"<script"])
def test_the_page_needs_nothing_but_itself(tmp_path: Path, pattern: str) -> None:
    assert re.search(pattern, page(tmp_path, outcome())) is None


def test_every_tag_is_closed(tmp_path: Path) -> None:
    found = outcome(
        passed=900,
        quarantined=100,
        row_failures=(FAILURE,),
        table_results=(result("row_count"), result("mean_drift(amount)")),
        compared_rows=5000,
    )
    stack: list[str] = []
    void = {"meta", "br", "img", "link", "hr", "input"}
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: None if tag in void else stack.append(tag)  # type: ignore[method-assign]

    def close(tag: str) -> None:
        assert stack.pop() == tag

    parser.handle_endtag = close  # type: ignore[method-assign]

    parser.feed(page(tmp_path, found, profile(mean=2.0, share=0.7)))

    assert stack == []
