"""Where a network is trained, and draws that are fixed there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from infra.errors import InputError


class DeviceUnavailable(InputError):
    """Raised when the device asked for is not there."""


def choose_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device to train on; ``auto`` takes CUDA where there is one.

    Raises:
        DeviceUnavailable: If CUDA is asked for and absent.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise DeviceUnavailable("There is no CUDA device. Got device='cuda'. Use 'cpu' or 'auto'.")
    return torch.device("cuda" if has_cuda and device != "cpu" else "cpu")


def device_words() -> tuple[str, ...]:
    """Return the names of the CUDA devices that there are."""
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_name(at) for at in range(n_devices))


@contextmanager
def seeded(seed: int, *, device: torch.device) -> Iterator[None]:
    """Fix every draw (start weights, dropout) inside; leave the caller's generators alone."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
