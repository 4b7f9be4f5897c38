"""Muon, for the matrices of a student from scratch; AdamW for a published one."""

from collections import defaultdict
from functools import partial

import torch
import torch.nn as nn

from data.tools.workers import side_by_side


def make_optimizers(model, muon_lr, adam_lr, head_lr=0.0, fused=False):
    """The optimizers (list) of a GPT, with these peak learning rates.

    Muon for the matrices of the blocks, AdamW for all else (embeddings, heads, norms); with
    muon_lr 0, `FineTuning` alone. head_lr 0: as adam_lr.
    """
    if not muon_lr:
        return [FineTuning(model, adam_lr, head_lr or adam_lr, fused)]
    matrices = [m.weight for m in model.blocks.modules() if isinstance(m, nn.Linear)]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    adamw = torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)
    return [Muon(matrices, muon_lr), adamw]


def set_learning_rates(optimizers, multiplier):
    """Give every optimizer this multiple of its peak rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("peak_lr", group["lr"]) * multiplier


def orthogonalize(matrices, steps=5):
    """About U V^T of matrices (N, A, B) = U S V^T, by the quintic Newton-Schulz iteration.

    Singular values end near 1, between 0.7 and 1.2, which is all that an optimizer needs.
    """
    is_tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT  # (N, A, A), of the shorter side
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon (Jordan 2024): momentum whose update is made orthogonal; a tall matrix steps further.

    torch.optim.Muon does the same, but always in bfloat16 and one matrix after another. A CPU
    without instructions for bfloat16 then spends five times as long on it as on the gradients.
    """

    def __init__(self, matrices, lr, momentum=0.95):
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    def step(self):
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            largest_first = [by_shape[shape] for shape in sorted(by_shape, reverse=True)]
            list(side_by_side(partial(self.move, group=group), largest_first))

    @torch.no_grad()
    def move(self, matrices, group):
        """Move matrices of one shape, which are multiplied together."""
        n_out, n_in = matrices[0].shape
        update = orthogonalize(torch.stack([self.momentum(p, group) for p in matrices]))
        lr = group["lr"] * max(1, n_out / n_in) ** 0.5
        for p, u in zip(matrices, update, strict=True):
            p.sub_(lr * u)

    def momentum(self, p, group):
        """The gradient of p, mixed with the mean of those before it."""
        buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - group["momentum"])
        update = p.grad.lerp(buffer, group["momentum"])
        return update.bfloat16() if p.is_cuda else update


class FineTuning(torch.optim.AdamW):
    """AdamW for a published model (a GPT), with a rate of its own for what is new in it.

    New are the signals' head and embedding, and the rows of <|step|> and <|end|>.
    """

    def __init__(self, model, lr, new_lr, fused=False):
        new = [*model.signal_head.parameters(), model.signal_embedding.weight]
        old = [p for p in model.parameters() if not any(p is n for n in new)]
        groups = [{"params": old, "lr": lr}, {"params": new, "lr": new_lr}]
        super().__init__(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)
        self.rows = [model.config.step_id, model.config.end_id]
        self.embeddings = {model.embed.weight, model.lm_head.weight}  # one, where they are tied
        self.ratio = new_lr / lr

    @torch.no_grad()
    def step(self):
        """A row of a matrix cannot have a rate of its own: its step is multiplied by `ratio`."""
        old_rows = [(weight, weight[self.rows]) for weight in self.embeddings]  # copies (2, C)
        super().step()
        for weight, old in old_rows:
            weight[self.rows] = old.lerp(weight[self.rows], self.ratio)
