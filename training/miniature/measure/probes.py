"""Probes that read attributes from frozen tokens, two linear ones and one with attention, and intervals of shares.

Shape letters: R characters, T tokens, D feature width.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

VALIDATION_SHARE = 0.2  # of the characters that a probe learns from choose its penalty or its epoch
PENALTIES = (1e-2, 1e-1, 1.0, 10.0)  # of ridge regression, in mean squared norms of a character's features
EPOCHS, BATCH = 25, 100


def pooled(tokens: torch.Tensor) -> torch.Tensor:
    """Mean and maximum over the tokens, (R, 2D)."""
    return torch.cat([tokens.mean(1), tokens.amax(1)], -1)


def standardised(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with the mean 0 and deviation 1 of `train`, feature by feature."""
    mean, deviation = train.mean(0), train.std(0).clamp(min=1e-6)
    return (train - mean) / deviation, (test - mean) / deviation


def ridge_scores(train: torch.Tensor, answers: torch.Tensor, test: torch.Tensor, penalty: float) -> torch.Tensor:
    """Linear regression on one-hot answers with an intercept and a penalty on the weights; (R_test, classes).

        W = Xᵀ (X Xᵀ + λ I)⁻¹ (Y − mean Y), λ = penalty · mean ‖x‖²

    Args:
        train, test: (R, D), centred as `standardised` has it. answers: (R, classes) of zeros and ones.
    """
    gram, mean = train @ train.T, answers.mean(0)
    scale = penalty * gram.diagonal().mean()
    dual = torch.linalg.solve(gram + scale * torch.eye(len(gram), dtype=gram.dtype), answers - mean)
    return (test @ train.T) @ dual + mean


def linear_reading(train, train_targets, test, test_targets) -> dict[str, tuple[float, float]]:
    """{attribute: shares right on a part of `train` and on `test`} of one ridge regression for each.

    The penalty is the one that reads that part best.
    """
    train, test = standardised(train, test)
    split = int(len(train) * (1 - VALIDATION_SHARE))
    result = {}
    for name, target in train_targets.items():
        answers = F.one_hot(target).float()

        def share(fitted, given, asked, truth, penalty):
            return (ridge_scores(fitted, given, asked, penalty).argmax(-1) == truth).double().mean().item()

        tried = [
            (share(train[:split], answers[:split], train[split:], target[split:], value), value) for value in PENALTIES
        ]
        validation, penalty = max(tried, key=lambda pair: pair[0])
        result[name] = validation, share(train, answers, test, test_targets[name], penalty)
    return result


class AttentiveProbe(nn.Module):
    """One learned query for each attribute reads the tokens, as an adapter's resampler does; then a linear layer."""

    def __init__(self, tokens: int, width: int, classes: dict[str, int], heads: int = 4):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(tokens, width))
        self.queries = nn.Parameter(torch.randn(len(classes), width))
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
        self.readings = nn.ModuleDict({name: nn.Linear(width, count) for name, count in classes.items()})

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """{attribute: (R, classes)} of (R, T, D)."""
        keys = tokens + self.places
        read = self.attention(self.queries.expand(len(tokens), -1, -1), keys, tokens, need_weights=False)[0]
        return {name: reading(read[:, number]) for number, (name, reading) in enumerate(self.readings.items())}


def attentive_reading(train, train_targets, test, test_targets, seed: int = 0) -> dict[str, tuple[float, float]]:
    """As `linear_reading`, of an `AttentiveProbe` at its best epoch."""
    torch.manual_seed(seed)
    flat = (values.flatten(0, 1) for values in (train, test))
    train, test = (v.view(s) for v, s in zip(standardised(*flat), (train.shape, test.shape)))
    probe = AttentiveProbe(*train.shape[1:], {name: int(target.max()) + 1 for name, target in train_targets.items()})
    split, best, result = int(len(train) * (1 - VALIDATION_SHARE)), dict.fromkeys(train_targets, -1.0), {}
    optimizer = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=0.05)
    steps = EPOCHS * -(-split // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)

    @torch.no_grad()
    def shares(tokens, targets):
        probe.eval()
        answers = probe(tokens)
        probe.train()
        return {name: (answers[name].argmax(-1) == target).double().mean().item() for name, target in targets.items()}

    for _ in range(EPOCHS):
        for chosen in torch.randperm(split).split(BATCH):
            answers = probe(train[chosen])
            loss = sum(F.cross_entropy(answers[name], target[chosen]) for name, target in train_targets.items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
        validation = shares(train[split:], {name: target[split:] for name, target in train_targets.items()})
        found = shares(test, test_targets)
        for name, value in validation.items():
            if value >= best[name]:
                best[name], result[name] = value, (value, found[name])
    return result


def best_reading(train, train_targets, test, test_targets, seed: int = 0) -> dict[str, tuple[float, str]]:
    """{attribute: (share right of `test`, probe)} by whichever probe reads the attribute best in a part of `train`.

    The best one counts on both sides: what image tokens hide from a linear probe, attention might still find.

    Args:
        train, test: (R, T, D). targets: {attribute: (R,) class numbers}.
    """
    readings = {
        "linear": linear_reading(train.flatten(1), train_targets, test.flatten(1), test_targets),
        "pooled": linear_reading(pooled(train), train_targets, pooled(test), test_targets),
        "attentive": attentive_reading(train, train_targets, test, test_targets, seed),
    }
    best = {name: max(readings, key=lambda reader: readings[reader][name][0]) for name in train_targets}
    return {name: (readings[reader][name][1], reader) for name, reader in best.items()}


def wilson_interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share of `count` independent trials (Wilson, 1927)."""
    middle = share + z**2 / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return tuple((middle + sign * half) / (1 + z**2 / count) for sign in (-1, 1))
