"""Data-parallel training under torchrun. With one process every call here does nothing."""

import os
import sys
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

RANK = int(os.environ.get("RANK", 0))  # torchrun sets both
WORLD = int(os.environ.get("WORLD_SIZE", 1))  # processes


def start_processes(device):
    """Join the other processes; all but the first are silent from now on."""
    if WORLD == 1:
        return
    is_cuda = device.type == "cuda"
    if is_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if is_cuda else "gloo")
    if RANK:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends


def end_processes():
    if WORLD > 1:
        dist.destroy_process_group()


def wrap(model, has_unused_weights):
    """The model; with several processes, such that their gradients are averaged."""
    if WORLD == 1:
        return model
    return DistributedDataParallel(model, find_unused_parameters=has_unused_weights)


def sum_over_processes(x):
    """The tensor x, summed over all processes in place."""
    if WORLD > 1:
        dist.all_reduce(x)
    return x


def exchange_only(forward, is_last):
    """A context in which gradients are exchanged only after the last micro-batch of a step."""
    return nullcontext() if is_last or WORLD == 1 else forward.no_sync()


def any_process(flag, device):
    """Is the flag true in any process? All of them must ask at the same step."""
    return flag if WORLD == 1 else bool(sum_over_processes(torch.tensor(int(flag), device=device)))
