"""BentoML's command line as the process that workers end with, and that ends with its launcher.

``python -m serving.supervisor serve …`` is ``python -m bentoml serve …``; :mod:`serving.launch`
starts it.
"""

import os
import runpy

from serving.parent_process import LAUNCHER_PID, SUPERVISOR_PID, ParentProcess
from serving.polling import Poll


def main() -> None:
    """Run BentoML's command until it ends, or the launcher does."""
    # Workers inherit it: they know whom to end with, even if that is gone before they have begun.
    os.environ[SUPERVISOR_PID] = str(os.getpid())
    Poll(ParentProcess.named_by(LAUNCHER_PID).look, what="the launcher")
    runpy.run_module("bentoml", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
