"""The pages for people, in a real browser: they render alone, without a network, and print."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def browse(page: Path, *arguments: str, profile: Path) -> str:
    """Open a file without a network and return what the browser writes."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", *arguments,
        page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("page", "said"),
    [("report.html", "whitecrow model report"), ("validation.html", "20,000")],
)
def test_a_page_shows_its_verdict_and_every_picture(trained, tmp_path, page, said) -> None:
    dom = browse(trained.run / page, "--dump-dom", profile=tmp_path)

    assert said in dom
    assert 'src="http' not in dom
    assert 'href="http' not in dom
    assert dom.count("<img") == dom.count('src="data:image/png;base64,')


def test_an_impact_preview_shows_both_policies_and_prints(whitecrow, trained, tmp_path) -> None:
    home = tmp_path / "home"
    shutil.copytree(trained.home, home)
    policy = tmp_path / "policy.toml"
    policy.write_text('review = {objective = "max_fpr", max_fpr = 0.05}')
    done = whitecrow(
        home, "recalibrate", "stream", trained.stream, "--policy", policy, "--reason", "x", "--json"
    )
    page = Path(done.json["preview"])

    dom = browse(page, "--dump-dom", profile=tmp_path / "reading")
    browse(
        page, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}",
        profile=tmp_path / "printing",
    )  # fmt: skip

    assert "Nothing has changed yet." in dom
    assert "<polyline" in dom
    assert "Who is decided otherwise, and why" in dom
    assert "http" not in dom.replace("http://www.w3.org", "")
    content = (tmp_path / "page.pdf").read_bytes()
    assert 1 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 6


def test_the_report_prints_to_paper(trained, tmp_path) -> None:
    browse(
        trained.run / "report.html",
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'report.pdf'}",
        profile=tmp_path / "profile",
    )

    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 12
