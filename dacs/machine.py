"""What this machine has for the jobs of the workflow. Torch-free."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def memory_mb() -> int:
    """The memory of this machine in MB, or of the container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    return (min(int(limit), total) if limit.isdigit() else total) // 10**6


def processor() -> str:
    """The name of the processor, as the system reports it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or "unknown processor"


def has_gpu() -> bool:
    """Whether there is a GPU that torch could use."""
    if not shutil.which("nvidia-smi"):
        return False
    return b"GPU " in subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True).stdout
