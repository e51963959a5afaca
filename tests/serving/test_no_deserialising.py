"""Loading, scoring and swapping need no pickle: they work where unpickling anything raises."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import pickle, _pickle

def refuse(*_args, **_kwargs):
    raise AssertionError("something was unpickled")

class Refusing:
    def __init__(self, *_args, **_kwargs):
        refuse()

for module in (pickle, _pickle):
    module.load = module.loads = refuse
    module.Unpickler = Refusing
pickle._Unpickler = Refusing
pickle._load = pickle._loads = refuse

import asyncio, json, sys
from pathlib import Path
from serving import service
from serving.http import ScoringApp
from serving.served_models import ModelSource

home, version = Path(sys.argv[1]), sys.argv[2]
source = ModelSource(home, ["shop"])
app = ScoringApp()

def score(models):
    app.serve(models)
    request = models.get("shop").scorer.bundle.golden.requests[0].encode()
    sent = []

    async def receive():
        return {"type": "http.request", "body": request}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/score", "headers": []}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 200, sent
    return json.loads(sent[1]["body"])["model"]["version"]

before = score(source.load_all())
from serving.live import LiveRecord
live = source.store.live
live.compare_and_swap("shop", live.get("shop"), LiveRecord(version, *sys.argv[3:4], 2))
print(before, score(source.load_all()))
"""


def test_loading_scoring_and_swapping_unpickle_nothing(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    first = store.live.get("shop")
    new_home(tmp_path, version="2", intercept=0.0)
    second = store.live.get("shop")
    assert (first, second) != (None, None)
    store.live.compare_and_swap("shop", second, first)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "2", second.policy_version],
        capture_output=True, text=True, check=False,
        env={**os.environ, "BENTOML_DO_NOT_TRACK": "True"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "2"]
