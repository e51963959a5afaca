"""A process that has everything imported and forks one child a command: kills come cheap.

Reads lines of JSON, ``{"arguments": [...], "log": "FILE"}``, and answers each with the child's
number and, once it has ended, with its status. No thread runs here, so that a fork is whole.
"""

import json
import os
import sys
import threading
import warnings


def _child(arguments: list[str], log: str) -> None:
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.argv = ["whitecrow", *arguments]
    from flows.cli import main

    main()


def serve() -> None:
    """Fork for every line until there are no more."""
    warnings.simplefilter("ignore")
    import great_expectations
    import mlflow.onnx
    import torch

    import flows.retraining.run
    import flows.validation

    del great_expectations, mlflow, torch, flows
    print(json.dumps({"threads": threading.active_count()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                _child(asked["arguments"], asked["log"])
            except SystemExit as ended:
                os._exit(int(ended.code or 0))
            finally:
                # Nothing of the parent's is to be ended or flushed here.
                os._exit(70)
        print(json.dumps({"process": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    serve()
