"""What a training says at its end, on the terminal and on its page."""

from pathlib import Path

import pytest

import features

CONTRACT = Path(features.__file__).parent / "contracts" / "simulated_stream.toml"


@pytest.mark.xdist_group("trained")
def test_a_threshold_that_cannot_be_met_is_said(whitecrow, stream, tiny, tmp_path) -> None:
    # Less than one row in the whole period: no score is high enough.
    contract = tmp_path / "contract.toml"
    contract.write_text(
        CONTRACT.read_text().replace(
            'decline = {objective = "min_precision", min_precision = 0.9}',
            'decline = {objective = "alert_budget", alerts_per_day = 0.0001}',
        )
    )
    home = tmp_path / "home"

    done = whitecrow(home, "train", stream, "-c", contract, "--config", tiny, "--device", "cpu")

    assert done.code == 0, done.err
    (said,) = [line for line in done.out.splitlines() if line.startswith("decline: ")]
    assert "cannot be met: " in said
    assert "review: " not in done.out
    (report,) = [line for line in done.out.splitlines() if line.startswith("Report: ")]
    page = Path(report.removeprefix("Report: ")).read_text()
    assert said.removeprefix("decline: ").rstrip(".") in page
    assert ".." not in page.partition("<dt>Decline from")[2].partition("</dd>")[0]


def test_the_version_is_one_line(command, tmp_path) -> None:
    done = command(tmp_path, "--version")

    assert (done.code, done.out.split()[0]) == (0, "whitecrow")
    assert done.out.split()[1][0].isdigit()
