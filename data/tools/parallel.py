"""Data-parallel training: by the workers of a CPU, or by processes under torchrun."""

import gc
import os
import sys
from contextlib import nullcontext
from copy import deepcopy

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from data.tools import workers

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


def end_processes(run):
    """Leave the other processes.

    What exchanged the gradients goes first: as the last owner of the process group it would wait,
    with Python's lock in its hand, for a thread that waits for that lock.
    """
    if WORLD > 1:
        run.forward = None
        gc.collect()
        dist.destroy_process_group()


class Twins:
    """A model for each worker: they share their weights, but have gradients of their own."""

    def __init__(self, model):
        self.models = [model]
        while len(self.models) < workers.N:
            twin = deepcopy(model)
            for p, q in zip(model.parameters(), twin.parameters(), strict=True):
                q.data = p.data
            self.models.append(twin)

    def each(self, function, micro_batches):
        """function(model, micro-batch) for each; in the end the first model has all gradients."""

        def work(i):
            return [function(self.models[i], batch) for batch in micro_batches[i :: workers.N]]

        parts = list(workers.side_by_side(work, range(workers.N)))
        for twin in self.models[1:]:
            for p, q in zip(self.models[0].parameters(), twin.parameters(), strict=True):
                if q.grad is not None:
                    p.grad = q.grad if p.grad is None else p.grad.add_(q.grad)
                    q.grad = None
        return [result for part in parts for result in part]


def wrap(model, has_unused_weights):
    """The model as its workers, or as several processes that average their gradients."""
    if WORLD > 1:
        return DistributedDataParallel(model, find_unused_parameters=has_unused_weights)
    return Twins(model) if workers.N > 1 else model


def each(forward, function, micro_batches):
    """function(model, micro-batch) for each micro-batch of a step; returns the results (list).

    forward: what `wrap` returns. Processes exchange their gradients only after the last one.
    """
    if isinstance(forward, Twins):
        return forward.each(function, micro_batches)
    results = []
    for i, batch in enumerate(micro_batches):
        is_last = i == len(micro_batches) - 1
        with nullcontext() if is_last or WORLD == 1 else forward.no_sync():
            results.append(function(forward, batch))
    return results


def sum_over_processes(x):
    """The tensor x, summed over all processes in place."""
    if WORLD > 1:
        dist.all_reduce(x)
    return x


def any_process(flag, device):
    """Is the flag true in any process? All of them must ask at the same step."""
    return flag if WORLD == 1 else bool(sum_over_processes(torch.tensor(int(flag), device=device)))
