"""The machine: its devices, its clock, a folder held by one process, and requests to stop."""

import os
import signal
import time
from contextlib import contextmanager

import torch

from data.tools.flags import UserError

try:
    import fcntl
except ImportError:  # Windows: there two runs in one folder go unnoticed
    fcntl = None


def pick_device(wanted="auto"):
    """(device, the reason for it). Raises UserError where the wanted one is missing."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted != "auto":
        if not available[wanted]:
            version = torch.__version__
            problem = f"torch {version} finds no such device here; use --device auto"
            raise UserError(f"--device {wanted}: {problem}")
        return torch.device(wanted), "asked for"
    if available["cuda"]:
        return torch.device("cuda"), torch.cuda.get_device_name()
    if available["mps"]:
        return torch.device("mps"), "Apple GPU"
    return torch.device("cpu"), "no GPU found"


# Peaks from the makers' data sheets (the fastest variant), by a part of the name that torch gives
# the GPU: dense bf16 FLOP/s, and bytes/s of its memory.
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
        for part, peaks in GPU_PEAKS.items():
            if f" {part} " in f" {name} ":  # a whole word: a GH200 is no H200
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


class Clock:
    """Seconds of training; pauses do not count."""

    def __init__(self, seconds=0.0):
        """seconds: what an earlier part of the run has taken."""
        self.start_again(seconds)

    def start_again(self, seconds):
        """Forget what has passed and go on from so many seconds."""
        self.began = time.time() - seconds

    @property
    def seconds(self):
        return time.time() - self.began

    @contextmanager
    def paused(self):
        """Time spent inside does not count."""
        pause = time.time()
        yield
        self.began += time.time() - pause


@contextmanager
def lock_folder(folder):
    """Hold a folder, made where it is missing, against other processes of this project.

    A process that ends, however it ends, lets go. Raises UserError where another one holds it or it
    cannot be made.
    """
    handle = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl:
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem = "another run is writing there; wait for it or name another folder"
        raise UserError(f"--out_dir {folder}: {problem}") from None
    except OSError as e:
        raise UserError(f"--out_dir {folder}: cannot be written ({e.strerror})") from None
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextmanager
def stop_requests():
    """A list that is no longer empty once the user or the machine has asked the program to stop.

    The user asks with Ctrl-C (SIGINT), the machine with SIGTERM.
    """
    requests = []

    def remember(number, frame):
        requests.append(number)

    previous = {n: signal.signal(n, remember) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
