"""Where scores are computed: what their last bits may depend on."""

import importlib.metadata
import platform
from functools import cache
from pathlib import Path

import numpy as np

_PROCESSORS = Path("/proc/cpuinfo")


@cache
def inference_platform() -> str:
    """Return system, processor, its vector instructions and the libraries that compute a score.

    Equal texts mean equal bits: a row's logits depend on nothing else. Unequal ones may round
    otherwise, as both libraries choose their code by the processor.
    """
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    # From the least to the most; the last one stands for all.
    widest = [*simd.get("baseline", ()), *simd.get("found", ())][-1:] or ["no SIMD"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("onnxruntime", "numpy")]
    machine = f"{platform.system()} {platform.machine()}"
    return ", ".join([machine, _processor(), *widest, *versions])


def _processor() -> str:
    try:
        lines = _PROCESSORS.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or "unnamed processor"
