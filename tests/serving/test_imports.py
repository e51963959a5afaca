"""Serving starts without the training packages: in a fresh interpreter, and with them forbidden."""

import subprocess
import sys
import textwrap

import pytest

from serving.model_store import ModelStore

FORBIDDEN = (
    "torch", "prefect", "mlflow", "great_expectations", "sklearn", "scipy", "matplotlib", "pandas",
)  # fmt: skip


def _run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module", ["serving.scorer", "serving.http", "serving.launch", "serving.service"]
)
def test_importing_it_loads_no_training_package(module: str) -> None:
    _run(f"""
        import sys
        import {module}
        loaded = [name for name in {FORBIDDEN!r} if name in sys.modules]
        assert not loaded, loaded
    """)


def test_a_bundle_is_loaded_and_a_request_answered_with_them_forbidden(store: ModelStore) -> None:
    _run(f"""
        import sys
        from importlib.machinery import PathFinder

        find = PathFinder.find_spec

        def find_others(name, path=None, target=None):
            return None if name.partition(".")[0] in {FORBIDDEN!r} else find(name, path, target)

        PathFinder.find_spec = find_others  # as if they were not installed

        import asyncio, json
        from pathlib import Path
        from serving.http import ScoringApp
        from serving.served_models import ModelSource

        models = ModelSource(Path({str(store.bundle_folder("shop", "1").parents[2])!r})).load_all()
        app = ScoringApp()
        app.serve(models)
        request = models.get("shop").scorer.bundle.golden.requests[0].encode()
        sent = []

        async def receive():
            return {{"type": "http.request", "body": request}}

        async def send(message):
            sent.append(message)

        scope = {{"type": "http", "method": "POST", "path": "/v1/score", "headers": []}}
        asyncio.run(app(scope, receive, send))
        assert sent[0]["status"] == 200, sent
        assert 0 <= json.loads(sent[1]["body"])["risk_score"] <= 1
    """)
