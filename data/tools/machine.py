"""The machine: its devices, a folder held by one process, and requests to stop."""

import os
import signal
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from data.tools.flags import UserError

try:
    import fcntl
except ImportError:  # Windows: there two runs in one folder go unnoticed
    fcntl = None


def pick_device(wanted="auto"):
    """(device, the reason for it). Raises UserError where the wanted one is missing."""
    devices = {}  # best first
    if torch.cuda.is_available():
        devices["cuda"] = torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    devices["cpu"] = "no GPU found"
    if wanted == "auto":
        name, reason = next(iter(devices.items()))
        return torch.device(name), reason
    if wanted not in devices:
        raise UserError(f"--device {wanted}: torch finds no such device here; use --device auto")
    return torch.device(wanted), "asked for"


def become_module(name, *args):
    """Become the program `python -m name args` of this project."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", name, *args]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})


def can_compile(wanted, device):
    """Should torch.compile be used? Only where it is wanted, on CUDA, and where Triton is."""
    if not wanted or device.type != "cuda":
        return False
    if find_spec("triton"):
        return True
    print("torch.compile is left out: it needs Triton, which is not installed here")
    return False


# Dense bf16 FLOP/s and memory bytes/s, from the makers' data sheets (the fastest variant), by a
# word of the name that torch gives the GPU.
GPU_PEAKS = {
    "H200": (989e12, 4.8e12),
    "H100": (989e12, 3.35e12),
    "A100": (312e12, 2.04e12),
    "L40S": (362e12, 0.864e12),
    "L4": (121e12, 0.3e12),
    "RTX 4090": (165e12, 1.008e12),
    "RTX 3090": (71e12, 0.936e12),
}


def gpu_peaks():
    """(FLOP/s, bytes/s) of this machine's GPU; (None, None) where they are not known."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name().replace("-", " ")
        for word, peaks in GPU_PEAKS.items():
            if f" {word} " in f" {name} ":  # a GH200 is no H200
                return peaks
    return None, None


def send(x, device):
    """A tensor on the device; a copy from pinned memory need not be waited for."""
    if torch.device(device).type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def flops_utilisation(model, tokens_per_second, length):
    """Share of the GPU's peak that training's own arithmetic takes; None where no peak is known.

    Appendix B of PaLM (arXiv 2204.02311): each token of sequences of this mean length takes 6 FLOP
    for each weight, and 12 * n_layer * n_embd * length in attention.
    """
    peak, _ = gpu_peaks()
    if peak is None:
        return None
    weights = sum(p.numel() for p in model.parameters())
    attention = 12 * model.config.n_layer * model.config.n_embd * length
    return tokens_per_second * (6 * weights + attention) / peak


@contextmanager
def lock_folder(folder):
    """Hold a folder, made where it is missing, against other processes of this project.

    A process that ends, however it ends, lets go. Raises UserError where another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(f"{folder}: another run is writing there") from None
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def stop_requests():
    """A list that is no longer empty after a request to stop: Ctrl-C (SIGINT) or SIGTERM."""
    requests = []

    def remember(number, frame):
        requests.append(number)

    previous = {n: signal.signal(n, remember) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
