"""What the service loads must start without the packages that fit."""

import subprocess
import sys

FORBIDDEN = ("scipy", "sklearn", "torch", "matplotlib", "pandas", "mlflow", "polars")
SCRIPT = f"""
import sys
import balancing.calibration.policy
import balancing.metrics.intervals
loaded = [name for name in {FORBIDDEN!r} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""


def test_applying_a_policy_loads_no_fitting_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
