"""The passport in a real browser: no script errors, nothing from outside, and it prints."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.passport.export import export_passport
from flows.passport.gathering import passport_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def page(built_shop, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("passport") / "passport.html"
    export_passport(passport_of(built_shop.settings, "shop:2"), out)
    return out


def browse(page: Path, profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Open a file in a browser that logs every request and every complaint of the page."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
        "--enable-logging=stderr", f"--log-net-log={profile / 'net.json'}", *arguments,
        page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)


def test_it_renders_alone_without_complaints(page, tmp_path) -> None:
    done = browse(page, tmp_path, "--dump-dom")

    dom = done.stdout
    assert "CONSOLE" not in done.stderr, "the page complains of nothing"
    for heading in (
        "Purpose and limits", "Data", "Features", "Method, and why", "Performance", "By segment",
        "Calibration", "Stability over time", "Fairness", "Reasons", "Thresholds and their impact",
        "Changes since the version before", "Monitoring plan",
        "Approvals, promotions and what happened since",
    ):  # fmt: skip
        assert f"<h2>{heading}</h2>" in dom
    assert dom.count("<img") == dom.count('src="data:image/svg+xml;base64,') == 6
    assert "http" not in dom.replace("http://www.w3.org", "")


def test_every_picture_is_one_and_nothing_overflows(page, tmp_path) -> None:
    """Asked of the page itself, by a script that this test adds to a copy."""
    asked = tmp_path / "asked.html"
    script = """<script>window.onload = () => {
      const images = [...document.images];
      document.title = [images.length, images.filter(one => one.naturalWidth > 0).length,
        document.documentElement.scrollWidth <= window.innerWidth,
        performance.getEntriesByType('resource').filter(one => !one.name.startsWith('data:')).length
      ].join(' ');
    };</script></body>"""
    asked.write_text(page.read_text().replace("</body>", script))

    dom = browse(asked, tmp_path / "profile", "--window-size=1280,900", "--dump-dom").stdout

    assert "<title>6 6 true 0</title>" in dom


def test_it_prints_to_paper(page, tmp_path) -> None:
    pdf = tmp_path / "passport.pdf"

    browse(page, tmp_path / "profile", "--no-pdf-header-footer", f"--print-to-pdf={pdf}")

    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 16
