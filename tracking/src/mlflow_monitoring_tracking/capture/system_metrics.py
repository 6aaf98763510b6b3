"""What the machine does, under MLflow's names: https://mlflow.org/docs/latest/ml/tracking/system-metrics/

Percentages, megabytes of 10^6 bytes, watts. The network counts from the first reading on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

_PREFIX = "system/"


class SystemReader:
    """Of this machine, and of NVIDIA's GPUs where ``pynvml`` is installed and finds some.

    ``node`` is part of each name, for runs that are on several machines.

    :raises ImportError: psutil is not installed: the extra [system].
    """

    def __init__(self, node: str | None = None) -> None:
        import psutil

        self._psutil = psutil
        self._prefix = f"{_PREFIX}{node}/" if node else _PREFIX
        self._sources: list[Callable[[], Mapping[str, float]]] = [self._processor, self._disk, self._network, *_gpus()]
        self._first = psutil.net_io_counters()
        psutil.cpu_percent()  # it says what was since the call before

    def read(self) -> dict[str, float]:
        """All values of now. What a machine does not tell is left out."""
        found: dict[str, float] = {}
        for source in self._sources:
            with suppress(Exception):  # strange machines fail in strange ways, and the other values are still worth it
                found |= source()
        return {f"{self._prefix}{name}": value for name, value in found.items()}

    def is_below(self, pids: frozenset[int]) -> bool:
        """Whether one of these processes started this one, or one that did."""
        with suppress(self._psutil.Error):
            return any(parent.pid in pids for parent in self._psutil.Process().parents())
        return False

    def _processor(self) -> Mapping[str, float]:
        memory = self._psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": self._psutil.cpu_percent(),
            "system_memory_usage_megabytes": round(memory.used / 1e6, 1),
            "system_memory_usage_percentage": round(memory.used / memory.total * 100, 1),
        }

    def _disk(self) -> Mapping[str, float]:
        disk = self._psutil.disk_usage(os.sep)
        return {
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": round(disk.used / 1e6, 1),
            "disk_available_megabytes": round(disk.free / 1e6, 1),
        }

    def _network(self) -> Mapping[str, float]:
        now, first = self._psutil.net_io_counters(), self._first
        return {
            "network_receive_megabytes": (now.bytes_recv - first.bytes_recv) / 1e6,
            "network_transmit_megabytes": (now.bytes_sent - first.bytes_sent) / 1e6,
        }


def _gpus() -> list[Callable[[], Mapping[str, float]]]:
    """One source for each kind of value of each GPU, as one that a GPU does not tell must not hide the others."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # noqa: BLE001 - not installed, or no driver
        return []

    def memory(number: int, handle: Any) -> Mapping[str, float]:
        found = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            f"gpu_{number}_memory_usage_percentage": round(found.used / found.total * 100, 1),
            f"gpu_{number}_memory_usage_megabytes": found.used / 1e6,
        }

    def load(number: int, handle: Any) -> Mapping[str, float]:
        return {f"gpu_{number}_utilization_percentage": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu}

    def power(number: int, handle: Any) -> Mapping[str, float]:
        used, limit = pynvml.nvmlDeviceGetPowerUsage(handle), pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)
        return {
            f"gpu_{number}_power_usage_watts": used / 1000,
            f"gpu_{number}_power_usage_percentage": used / limit * 100,
        }

    def source(read: Callable[[int, Any], Mapping[str, float]], number: int) -> Callable[[], Mapping[str, float]]:
        return lambda: read(number, handles[number])

    return [source(read, number) for number in range(len(handles)) for read in (memory, load, power)]
