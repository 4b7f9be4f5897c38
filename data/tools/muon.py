"""Muon (Jordan 2024): momentum whose update is made orthogonal, for the matrices of a network.

torch.optim.Muon does the same, but always in bfloat16 and one matrix after another. A CPU without
instructions for bfloat16 then spends five times as long on the optimizer as on the gradients.
"""

from collections import defaultdict

import torch


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
    """Nesterov momentum, orthogonalized; a tall matrix takes larger steps, as Jordan's do."""

    def __init__(self, matrices, lr, momentum=0.95):
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = defaultdict(list)  # matrices of one shape are multiplied together
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for (n_out, n_in), same in by_shape.items():
                update = orthogonalize(torch.stack([self.momentum(p, group) for p in same]))
                lr = group["lr"] * max(1, n_out / n_in) ** 0.5
                for p, u in zip(same, update, strict=True):
                    p.sub_(lr * u)

    def momentum(self, p, group):
        """The gradient of p, mixed with the mean of those before it."""
        buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - group["momentum"])
        update = p.grad.lerp(buffer, group["momentum"])
        return update.bfloat16() if p.is_cuda else update
