"""The loss where the logits of all positions at once would not fit into the memory."""

import torch
from torch.utils.checkpoint import checkpoint

from data.tools import memory


@torch.compiler.disable  # how many positions are supervised changes from batch to batch
def loss_in_chunks(loss, head, hidden, targets, squared):
    """loss(head, hidden, targets, squared), with few logits at a time.

    Those of a chunk of supervised positions are made, summed up and dropped; its gradient makes
    them anew.
    """
    is_target = targets >= 0
    size = max(1, memory.LOGITS_AT_ONCE // head.out_features)
    chunks = zip(hidden[is_target].split(size), targets[is_target].split(size), strict=True)
    losses = [
        checkpoint(loss, head, states, ids, squared, use_reentrant=False) for states, ids in chunks
    ]
    return sum(losses)
