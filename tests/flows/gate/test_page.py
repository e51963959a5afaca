"""The verdict's page, in a real browser, and without one."""

import shutil
import subprocess

import polars as pl
import pytest

from flows.gate.rule import GateRule
from serving.live import CHALLENGER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PHONE_PIXELS = 500


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_shows_the_verdict_with_its_pictures_alone_and_fits_a_phone(
    till, rows, tmp_path
) -> None:
    till.release(CHALLENGER, {"SIGNAL": 2.0, "NOISE": 0.1}, review=0.02)
    verdict = till.judge(rows, rule=GateRule(max_latency_ratio=50.0))
    page = verdict.page.with_name("measured.html")
    # The page says how wide it came out.
    told = "<script>document.title = document.documentElement.scrollWidth</script></body>"
    page.write_text(verdict.page.read_text().replace("</body>", told))

    dom = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--window-size={_PHONE_PIXELS},900", f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip

    assert "Keep the champion: " in dom
    assert "at most 1.5 times as many are wanted" in dom
    assert 'src="http' not in dom
    assert 'href="http' not in dom
    assert dom.count("<img") == dom.count('src="data:image/png;base64,') == 3
    width = int(dom.partition("<title>")[2].partition("</title>")[0])
    assert width <= _PHONE_PIXELS


def test_a_page_without_labelled_rows_says_what_is_missing(till, rows) -> None:
    till.release(CHALLENGER, fitted_until=None)

    page = till.judge(rows, rule=GateRule(max_latency_ratio=50.0)).page.read_text()

    assert "A person has to decide" in page
    assert "nobody can tell until when both were fitted" in page
    assert "<img" not in page


def test_the_page_escapes_what_rows_hold(new_till, rows, tmp_path) -> None:
    till = new_till()
    till.release("champion")
    till.release(CHALLENGER)
    evil = tmp_path / "evil.parquet"
    pl.read_parquet(rows).with_columns(REGION=pl.lit("<script>alert(1)</script>")).write_parquet(
        evil
    )

    page = till.judge(evil, rule=GateRule(max_latency_ratio=50.0)).page.read_text()

    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
