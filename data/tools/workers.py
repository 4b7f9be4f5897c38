"""Two workers on a CPU: threads of Python, each with half of the threads that torch would take.

The threads of torch (OpenMP's) meet after every operation, and spin until the last one is there.
Beside another program they spin for most of the time. Workers meet once in a training step, or once
in a whole evaluation.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

N = 1  # workers
POOL = None


def cpu_threads():
    """Threads that torch may take: what it finds, or less where a container may use less."""
    threads = torch.get_num_threads()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(threads, int(quota) // int(period)))  # "max" is no int: no limit
    except (OSError, ValueError):
        return threads


def start_workers(device, processes=1):
    """Have two workers from now on; none beside a GPU or other processes. Returns all threads."""
    global N, POOL
    if POOL is None and device.type == "cpu" and processes == 1:
        threads = cpu_threads()
        N = min(2, threads)
        torch.set_num_threads(threads // N)
        POOL = ThreadPoolExecutor(N, initializer=torch.set_num_threads, initargs=(threads // N,))
    return N * torch.get_num_threads()


def side_by_side(function, items):
    """function(item) for each item, in their order, by all workers at once."""
    return map(function, items) if N == 1 else POOL.map(function, items)


def split(batch):
    """A list as a part for each worker."""
    parts = [batch[i::N] for i in range(N)]
    return [part for part in parts if part]
