"""A disk that fills up in the middle of a training: one line, and nothing half-done."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a size; needs the right to do so."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / size
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
        mounted.append(place)
        return place

    try:
        yield mount
    finally:
        for place in mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("size", ["600k", "1200k", "2000k"])
def test_a_full_disk_is_one_line_and_registers_nothing(small_disk, train, stream, size) -> None:
    """Too small for MLflow's database, for the rows that passed, and for the feature table."""
    home = small_disk(size) / "home"

    done = train(home, stream)

    assert done.code == 2
    assert "full" in done.error or "space" in done.error
    assert not list((home / "models").glob("*/*"))
