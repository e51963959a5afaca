"""What is damaged or taken is refused before anything starts."""

import json
import shutil
import socket

import pytest

pytestmark = pytest.mark.xdist_group("trained")


def test_a_port_in_use(whitecrow, trained) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = whitecrow(trained.home, "serve", "--port", port)

    assert (done.code, done.out) == (2, "")
    assert f"--port {port + 1}" in done.error


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "golden.parquet"])
def test_a_bundle_with_one_flipped_byte(whitecrow, trained, stream, tmp_path, file) -> None:
    home = tmp_path / "home"
    for name in ("models", "policies"):
        shutil.copytree(trained.home / name, home / name)
    shutil.copy(trained.home / "whitecrow.db", home / "whitecrow.db")
    path = home / "models" / "stream" / "1" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    score = whitecrow(home, "score", stream, "-m", "stream", "-o", tmp_path / "o.parquet", "--json")
    serve = whitecrow(home, "serve", "--port", "39999")

    assert score.code in (1, 2)
    assert file in score.error
    assert file in serve.error
    assert serve.code == score.code
    assert json.loads(score.out) == {"error": {"message": score.error}}
    assert not (tmp_path / "o.parquet").exists()
