"""The machine that a run is on: system, processors, memory, GPUs."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> dict[str, str]:
    """Of Linux; on other systems what Python knows of them."""
    found = {
        "system.host": platform.node(),
        "system.os": platform.platform(),
        "system.cpu.count": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }
    if model := _line("/proc/cpuinfo", "model name"):
        found["system.cpu.model"] = model
    if memory := _line("/proc/meminfo", "MemTotal"):
        found["system.memory.bytes"] = str(int(memory.split()[0]) * 1024)
    if gpus := _gpus():
        found["system.gpu.names"] = ", ".join(gpus)
        found["system.gpu.count"] = str(len(gpus))
    return found


def _line(file: str, key: str) -> str | None:
    try:
        with Path(file).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    except OSError:
        pass  # not Linux
    return None


def _gpus() -> list[str]:
    """Of NVIDIA's driver; it says so in files, and needs no library and no process."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [name for file in files if (name := _line(str(file), "Model"))]
