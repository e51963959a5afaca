"""A bento holds the service and a released model, and runs with the extra ``serve`` alone."""

import os
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.errors import InputError
from infra.settings import Settings
from infra.signing import SigningKey
from serving.bundle import BundleMismatch
from serving.launch import free_port
from serving.model_references import UnknownModel
from serving.packaging import PackageMissing, PackagingFailed, package_service, pinned_requirements

REPOSITORY = Path(__file__).resolve().parents[2]
FORBIDDEN = ("torch", "prefect", "mlflow", "sklearn", "great_expectations", "pandas", "scipy")


@pytest.fixture
def settings(tmp_path: Path, new_home) -> Settings:
    """Of a state folder with a signed model."""
    store, key = new_home(tmp_path / "home"), SigningKey.generate()
    key.write_private(tmp_path / "home" / "keys")
    key.write_public(tmp_path / "home" / "keys")
    store.sign_unsigned(key)
    return Settings(home=tmp_path / "home")


def test_a_bento_holds_one_model_its_policy_and_no_secret(settings: Settings) -> None:
    settings.keys.joinpath("decisions.key").write_text("secret")
    out = settings.root.parent / "shop.bento"

    done = package_service(settings, "shop", out=out)

    with tarfile.open(out) as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
        recipe = archive.extractfile(
            next(n for n in archive.getnames() if n.endswith("bento.yaml"))
        )
        assert recipe is not None
        text = recipe.read().decode()
    state = {name.removeprefix("src/state/") for name in names if name.startswith("src/state/")}
    assert done.tag == "whitecrow-shop:1.1"
    assert {
        "models/shop/1/model.onnx", "models/shop/1/bundle.sha256.sig", "policies/shop/1.json",
        "policies/shop/1.json.sig", "whitecrow.db",
    } <= state  # fmt: skip
    assert [name for name in state if name.startswith("keys/") and not name.endswith(".pub")] == []
    assert any(name.endswith(".pub") for name in state)
    assert "src/serving/service.py" in names
    assert "serving.packaged_service:ScoringService" in text
    assert not any(name in text for name in ("torch==", "mlflow==", "prefect=="))


def test_what_the_extra_serve_needs_is_pinned_and_nothing_that_trains() -> None:
    pinned = dict(each.split("==") for each in pinned_requirements(("serve",)))

    assert {"bentoml", "onnxruntime", "polars", "httpx", "numpy"} <= set(pinned)
    assert not {"torch", "mlflow", "prefect", "scikit-learn", "great-expectations"} & set(pinned)


def test_a_file_is_never_overwritten(settings: Settings) -> None:
    out = settings.root.parent / "shop.bento"
    out.write_text("mine")

    with pytest.raises(InputError, match="exists already"):
        package_service(settings, "shop", out=out)

    assert out.read_text() == "mine"


def test_an_unknown_model_is_refused(settings: Settings) -> None:
    with pytest.raises(UnknownModel, match="there are: shop"):
        package_service(settings, "nope", out=settings.root.parent / "x.bento")


def test_a_broken_model_is_not_packed(settings: Settings) -> None:
    model = settings.root / "models/shop/1/model.onnx"
    model.write_bytes(model.read_bytes() + b"x")

    with pytest.raises(BundleMismatch):
        package_service(settings, "shop", out=settings.root.parent / "x.bento")


def test_an_extra_that_is_not_installed_says_how_to_install_it(monkeypatch) -> None:
    from importlib import metadata

    from serving import packaging

    def without_bentoml(name: str) -> metadata.Distribution:
        if name == "bentoml":
            raise metadata.PackageNotFoundError(name)
        return metadata.distribution(name)

    monkeypatch.setattr(packaging, "distribution", without_bentoml)

    with pytest.raises(PackageMissing, match=r"bentoml is not installed.*whitecrow\[serve\]"):
        pinned_requirements(("serve",))


def test_what_bentoml_says_is_passed_on(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "no-folder").write_text("in the way")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "no-folder"))

    with pytest.raises(PackagingFailed, match="BentoML did not build the bento: .*no-folder"):
        package_service(settings, "shop")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_bento_runs_in_a_fresh_environment_with_the_extra_serve_alone(
    settings: Settings, tmp_path: Path, shop_row: Any
) -> None:
    environment, site = _fresh_environment(tmp_path / "venv")
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"installed: {size / 1e6:.0f} MB")
    assert size < 1e9
    assert [name for name in FORBIDDEN if (site / name).exists()] == []

    path = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WHITECROW_")},
        "BENTOML_HOME": str(tmp_path / "store"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": "",
    }
    packed = tmp_path / "shop.bento"
    home = {"WHITECROW_HOME": str(settings.root)}
    _run([environment / "whitecrow", "package", "shop", "--out", packed], path | home, tmp_path)
    print(f"bento: {packed.stat().st_size / 1e6:.1f} MB")
    _run([environment / "bentoml", "import", packed], path, tmp_path)

    port = free_port()
    with (tmp_path / "service.log").open("w") as log:
        started = time.perf_counter()
        service = subprocess.Popen(
            [environment / "bentoml", "serve", "whitecrow-shop:1.1", "--port", str(port),
             "--host", "127.0.0.1"],
            env=path | {"WHITECROW_HOST": "127.0.0.1"}, cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                _wait(client, service)
                waited = time.perf_counter() - started
                answer = client.post("/v1/score", json=shop_row(AMOUNT=300.0)).json()
            tree = [psutil.Process(service.pid), *psutil.Process(service.pid).children(True)]
            spent = sum(sum(process.cpu_times()[:2]) for process in tree)
        finally:
            service.terminate()
            service.wait(30)
    print(f"cold start: {waited:.1f} s, {spent:.1f} s of them on a processor")
    assert answer["decision"] == "review"
    assert answer["model"] == {"name": "shop", "version": "1", "policy_version": "1"}
    assert list((tmp_path / "store").rglob("state/decisions.db"))


def _fresh_environment(folder: Path) -> tuple[Path, Path]:
    venv.create(folder, with_pip=True)
    scripts = folder / "bin"
    lock = REPOSITORY / "requirements.lock"
    install = [scripts / "python", "-m", "pip", "install", "--quiet", "-c", lock]
    _run([*install, f"{REPOSITORY}[serve]"], dict(os.environ), folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return scripts, folder / "lib" / version / "site-packages"


def _run(command: list[Any], environment: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _wait(client: httpx.Client, service: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and service.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError("the bento does not answer")
