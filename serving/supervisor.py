"""BentoML's command line as the process that workers end with, and that ends with its launcher.

``python -m serving.supervisor serve …`` is ``python -m bentoml serve …``; :mod:`serving.launch`
starts it.
"""

import logging
import os
import runpy

from serving.parent_process import LAUNCHER_PID, SUPERVISOR_PID, ParentProcess
from serving.polling import Poll

_BENTOML_LOGGER = "bentoml.serve"


class ListeningAddress(logging.Filter):
    """Names the address that is listened on where BentoML's line says ``localhost`` instead.

    Args:
        host: The address.
    """

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = f"[{host}]" if ":" in host else host

    def filter(self, record: logging.LogRecord) -> bool:
        """Mend a record; none is left out."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                self._host if argument == "localhost" else argument for argument in record.args
            )
        return True


def main() -> None:
    """Run BentoML's command until it ends, or the launcher does."""
    # Workers inherit it: they know whom to end with, even if that is gone before they have begun.
    os.environ[SUPERVISOR_PID] = str(os.getpid())
    Poll(ParentProcess.named_by(LAUNCHER_PID).look, what="the launcher")
    host = os.environ.get("WHITECROW_HOST")
    if host:
        logging.getLogger(_BENTOML_LOGGER).addFilter(ListeningAddress(host))
    runpy.run_module("bentoml", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
