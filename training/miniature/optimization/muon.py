"""Muon, and which weights it trains."""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, from the reference implementation
NEWTON_SCHULZ_STEPS = 5


def orthogonalised(wide: torch.Tensor) -> torch.Tensor:
    """X' = (aI + bA + cA^2) X with A = X X^T, five times, from X / |X|: all singular values come near 1; float32.

    X' is Q X with a polynomial Q of A, and A' is P A P, so the steps are done on (rows, rows) matrices and the wide one
    is met twice: three to four times as fast as step by step for the weights of convolutions.

    Args:
        wide: (matrices, rows, columns), rows <= columns.
    """
    a, b, c = COEFFICIENTS
    x = wide.float()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram, product = x @ x.mT, None
    for step in range(NEWTON_SCHULZ_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if step < NEWTON_SCHULZ_STEPS - 1:
            gram = factor @ gram @ factor
    return product @ x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised by five Newton-Schulz steps (Jordan et al., 2024); for 2 or 4 axes.

    In the feasibility studies it needed half the image views of AdamW. Weights of one shape are updated together: by
    itself each would take some 35 kernels, 6,000 a step for the miniature's UNet, and a GPU waits for their launches.

    Args:
        params: weights; 4 axes are flattened to (out, rest). lr: per step. momentum: of the gradient average.
        weight_decay: share of the weight removed per unit of lr.
    """

    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            shapes = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    shapes.setdefault(weight.flatten(1).shape, []).append(weight)
            for weights in shapes.values():
                self._step_of_shape(weights, group["lr"], group["momentum"], group["weight_decay"])

    def _step_of_shape(self, weights, lr, momentum, weight_decay):
        gradients = [weight.grad for weight in weights]
        for weight in weights:
            if "average" not in self.state[weight]:
                self.state[weight]["average"] = torch.zeros_like(weight)
        averages = [self.state[weight]["average"] for weight in weights]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        updates = torch.stack([u.flatten(1) for u in torch._foreach_lerp(gradients, averages, momentum)])
        rows, columns = updates.shape[1:]
        is_tall = rows > columns
        x = orthogonalised(updates.mT if is_tall else updates)
        x = (x.mT if is_tall else x).to(weights[0].dtype)
        torch._foreach_mul_(weights, 1 - lr * weight_decay)
        x = x * (lr * -(max(1.0, rows / columns) ** 0.5))  # `lr` may be a tensor, as in AdamW
        torch._foreach_add_(weights, [one.reshape(weight.shape) for one, weight in zip(x, weights)])


# Inputs, outputs and embeddings are no matrices between features, so AdamW keeps them.
ADAMW_ONLY = (
    "conv_in",
    "conv_out",
    "quant",
    "token_embedding",
    "position_embedding",
    "patch_embedding",
    "class_embedding",
)


# Queries and keys: Muon's steps all have one length, so nothing else would keep their products, the attention's logits,
# from growing until every softmax is one-hot and learns no more. A decay of 1/‖W‖ bounds the largest singular value.
LOGIT_LAYERS = ("to_q", "to_k", "to_kv")
LARGEST_LOGIT_NORM = 1.0


def split_parameters(modules):
    """Named trainable weights of {name: module}, for (Muon, AdamW)."""
    named = [
        (f"{key}.{name}", p)
        for key, module in modules.items()
        for name, p in module.named_parameters()
        if p.requires_grad
    ]
    matrices = {name for name, p in named if p.ndim in (2, 4) and not any(word in name for word in ADAMW_ONLY)}
    return {n: p for n, p in named if n in matrices}, {n: p for n, p in named if n not in matrices}


def muon_groups(named):
    """Parameter groups of {name: weight}: attention's queries and keys, bounded in norm, apart from the rest."""
    free, held = (
        [p for name, p in named.items() if (name.split(".")[-2] in LOGIT_LAYERS) == wanted] for wanted in (False, True)
    )
    groups = [{"params": free}, {"params": held, "weight_decay": 1 / LARGEST_LOGIT_NORM}]
    return [group for group in groups if group["params"]]
