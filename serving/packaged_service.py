"""The service as a bento brings it: with a state folder of its own, unless another one is named.

Imported by BentoML only, as the entry of what :mod:`serving.packaging` builds. The environment is
completed before the service reads its settings, and for processes that are started from here.
"""

import os
from pathlib import Path

_STATE = Path(__file__).resolve().parents[1] / "state"
if _STATE.is_dir():
    os.environ.setdefault("WHITECROW_HOME", str(_STATE))
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

from serving.service import ScoringService  # noqa: E402 - reads the settings completed above

__all__ = ["ScoringService"]
