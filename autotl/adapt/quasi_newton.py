"""Batched L-BFGS for softmax regression: many strengths share every matrix product."""

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_MEMORY = 12  # curvature pairs a problem keeps
_MAX_STEPS = 400
_MAX_TRIALS = 10  # step lengths tried along one direction
_REFRESHED = (4, 8, 16, 32, 64)  # steps after which the preconditioner follows the predictions
_SLOPE = 0.5  # of the initial slope that a step may leave
_FLOATS_AT_ONCE = 2**25  # logits and curvature of the problems solved together


@dataclass
class Solution:
    """Solved problems, in the order of `strengths`.

    Args:
        strengths: Inverse strengths, shape (n_strengths,).
        W: Weights, the last column the bias, shape (n_strengths, n_classes, n_inputs + 1).
        losses: Mean training losses, nats.
        pairs: For each problem its steps and changes of gradient, oldest first.
    """

    strengths: np.ndarray
    W: "torch.Tensor"
    losses: np.ndarray
    pairs: list[list[tuple[Any, Any]]] = field(default_factory=list)

    def join(self, other: "Solution") -> "Solution":
        """Return the problems of both."""
        import torch

        return Solution(
            np.concatenate([self.strengths, other.strengths]),
            torch.cat([self.W, other.W]),
            np.concatenate([self.losses, other.losses]),
            self.pairs + other.pairs,
        )


class SoftmaxRegression:
    """Minimise `C * sum_i w_i * logloss_i + 0.5 * ||W||^2` for many C at once.

    Preconditioned by the Kronecker product of the inputs' second moments, diagonal in the basis
    that the caller rotated to, and the classes' covariance under the current predictions.

    Args:
        Z: Inputs of shape (n_samples, n_inputs) float32, centred, nearly uncorrelated columns.
        y: Class codes of shape (n_samples,); every class occurs.
        sample_weights: Shape (n_samples,), or None.
        tol: Error of the decision values to stop at, relative to the largest, as estimated by
            the next step.

    References:
        Liu, Nocedal: On the limited memory BFGS method for large scale optimization. 1989.
        Martens, Grosse: Optimizing Neural Networks with Kronecker-factored Approximate Curvature.
        ICML 2015.
    """

    def __init__(
        self, Z: np.ndarray, y: np.ndarray, sample_weights: np.ndarray | None, tol: float
    ) -> None:
        import torch

        n, n_inputs = Z.shape
        self.Z = torch.ones(n, n_inputs + 1)
        self.Z[:, :-1] = torch.from_numpy(Z)
        weights = np.ones(n) if sample_weights is None else sample_weights
        self.weights = torch.from_numpy(np.asarray(weights, np.float32))
        self.weighted = sample_weights is not None
        self.moments = torch.from_numpy(np.append(_moments(Z, weights), weights.sum())).float()
        self.penalty = torch.ones(n_inputs + 1)
        self.penalty[-1] = 0.0
        self.n, self.n_classes, self.tol = n, int(y.max()) + 1, tol
        self.own = torch.from_numpy(y * n + np.arange(n))  # in a flattened (n_classes, n_samples)

    def solve(
        self,
        strengths: np.ndarray,
        start: "torch.Tensor | None" = None,
        near: Solution | None = None,
    ) -> Solution:
        """Solve for inverse strengths, from weights and with the curvature of solved problems."""
        import torch

        shape = (len(strengths), self.n_classes, self.Z.shape[1])
        start = torch.zeros(shape) if start is None else start
        floats = self.n_classes * (4 * self.n + 2 * _MEMORY * self.Z.shape[1])
        size = max(1, _FLOATS_AT_ONCE // floats)
        parts = []
        for at in range(0, len(strengths), size):
            few = strengths[at : at + size]
            descent = _Descent(self, few, start[at : at + size], self._inherit(few, near))
            with torch.inference_mode():
                parts.append(descent.run())
        return functools.reduce(Solution.join, parts)

    def forward(self, W: "torch.Tensor") -> "torch.Tensor":
        """Return logits of shape (n_problems, n_classes, n_samples)."""
        logits: torch.Tensor = (W.reshape(-1, W.shape[2]) @ self.Z.T).view(*W.shape[:2], self.n)
        return logits

    def residual(self, logits: "torch.Tensor") -> "torch.Tensor":
        """Return weighted probabilities minus truth."""
        import torch

        residual = torch.softmax(logits, 1)
        residual.view(len(logits), -1)[:, self.own] -= 1.0
        return residual.mul_(self.weights) if self.weighted else residual

    def gradient(
        self, residual: "torch.Tensor", W: "torch.Tensor", C: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return the gradient, of the shape of `W`."""
        gradient: torch.Tensor = (residual.view(-1, self.n) @ self.Z).view(W.shape)
        return gradient.mul_(C[:, None, None]).addcmul_(W, self.penalty)

    def loss(self, logits: "torch.Tensor") -> np.ndarray:
        """Return mean losses of shape (n_problems,), nats."""
        own = logits.reshape(len(logits), -1)[:, self.own]
        losses: np.ndarray = (logits.logsumexp(1) - own).double().mean(1).numpy()
        return losses

    def _inherit(self, strengths: np.ndarray, near: Solution | None) -> list[Any]:
        """Return curvature pairs of each problem's nearest solved one, scaled to its strength."""
        import torch

        if near is None:
            return []
        distance = np.abs(np.log(strengths)[:, None] - np.log(near.strengths)[None, :])
        nearest = distance.argmin(axis=1)
        none = torch.zeros(self.n_classes, self.Z.shape[1])
        rows = []
        for C, source in zip(strengths, nearest, strict=True):
            # Between C^0 (separable: the residuals fall as 1/C) and C^1 (they stay).
            factor = float(np.sqrt(C / near.strengths[source]))
            pairs = near.pairs[source][-_MEMORY:]
            scaled = [(s, factor * y + (1 - factor) * s * self.penalty) for s, y in pairs]
            rows.append([(none, none)] * (_MEMORY - len(scaled)) + scaled)
        slots = zip(*rows, strict=True)
        stacked = [[torch.stack(v) for v in zip(*pairs, strict=True)] for pairs in slots]
        return [(s, y, _inverse(_dot(s, y))) for s, y in stacked]


class _Descent:
    """Problems that have not converged yet, shrinking as they do."""

    def __init__(
        self, problem: SoftmaxRegression, strengths: np.ndarray, W: Any, pairs: list[Any]
    ) -> None:
        import torch

        self.problem, self.strengths, self.W, self.pairs = problem, strengths, W, pairs
        self.C = torch.from_numpy(strengths).float()
        self.alive = torch.arange(len(strengths))
        self.found = Solution(
            strengths, torch.empty_like(W), np.zeros(len(W)), [[] for _ in range(len(W))]
        )

    def run(self) -> Solution:
        problem = self.problem
        self.logits = problem.forward(self.W)
        residual = problem.residual(self.logits)
        self.gradient = problem.gradient(residual, self.W, self.C)
        self.rotation, self.inverse = self._curvature(residual)
        for step in range(_MAX_STEPS):
            direction = self._direction()
            change = problem.forward(direction)
            size, largest = (v.abs().amax((1, 2)) for v in (change, self.logits))
            done = size <= problem.tol * largest
            if step == _MAX_STEPS - 1:  # a point that stops here is still a usable candidate
                done |= True
            if done.any():
                self._finish(done, direction, change)
                if not len(self.alive):
                    break
                direction, change = direction[~done], change[~done]
            residual = self._advance(direction, change)
            if step + 1 in _REFRESHED:
                self.rotation, self.inverse = self._curvature(residual)
        return self.found

    def _curvature(self, residual: Any) -> tuple[Any, Any]:
        """Return the classes' eigenvectors and the inverse curvature in their basis."""
        import torch

        problem = self.problem
        P = residual.clone()
        P.view(len(P), -1)[:, problem.own] += problem.weights
        total = problem.weights.sum()
        root = P / problem.weights.sqrt() if problem.weighted else P
        covariance = torch.diag_embed(P.sum(2)) - torch.bmm(root, root.transpose(1, 2))
        values, rotation = torch.linalg.eigh(covariance / total)
        values = values.clamp(min=1e-7)[:, :, None]
        inverse = 1.0 / (self.C[:, None, None] * values * problem.moments + problem.penalty)
        inverse[:, 0, -1] = 0.0  # a shift of all biases changes nothing
        return rotation, inverse

    def _precondition(self, v: Any) -> Any:
        return self.rotation @ ((self.rotation.transpose(1, 2) @ v) * self.inverse)

    def _direction(self) -> Any:
        """Return the negative gradient times the inverse of the approximated Hessian."""
        import torch

        q, used = self.gradient.clone(), []
        for s, y, inverse in reversed(self.pairs):
            factor = inverse * _dot(s, q)
            q -= factor[:, None, None] * y
            used.append(factor)
        q = self._precondition(q)
        if self.pairs:
            _, y, inverse = self.pairs[-1]
            scale = _inverse(inverse * _dot(y, self._precondition(y)))
            q *= torch.where(inverse > 0, scale, 1.0)[:, None, None]
        for (s, y, inverse), factor in zip(self.pairs, reversed(used), strict=True):
            q += s * (factor - inverse * _dot(y, q))[:, None, None]
        return -q

    def _advance(self, direction: Any, change: Any) -> Any:
        """Move along `direction`, whose logits are `change`; returns the residuals there."""
        length, residual = self._search(direction, change)
        step = direction * length[:, None, None]
        self.W = self.W + step
        gradient = self.problem.gradient(residual, self.W, self.C)
        difference = gradient - self.gradient
        self.pairs.append((step, difference, _inverse(_dot(step, difference))))
        self.pairs = self.pairs[-_MEMORY:]
        self.gradient = gradient
        return residual

    def _search(self, direction: Any, change: Any) -> tuple[Any, Any]:
        """Return step lengths that leave little slope, and the residuals there.

        Along a line the logits are linear: a trial costs no matrix product.
        """
        import torch

        penalised = direction * self.problem.penalty
        at_start, growth = _dot(self.W, penalised), _dot(direction, penalised)
        slope = _dot(self.gradient, direction)
        length, logits, residual = torch.ones_like(self.C), self.logits, change
        for _ in range(_MAX_TRIALS):
            logits = torch.addcmul(self.logits, change, length[:, None, None])
            residual = self.problem.residual(logits)
            here = self.C * _dot(residual, change) + at_start + length * growth
            bad = here.abs() > _SLOPE * slope.abs()
            if not bad.any():
                break
            # The slope rises along the line (the loss is convex), so the secant brackets.
            secant = slope / (slope - here)
            longer = torch.where(slope < here, secant.clamp(1.1, 4.0), 4.0)
            length = torch.where(bad, length * torch.where(here > 0, secant, longer), length)
        self.logits = logits
        return length, residual

    def _finish(self, done: Any, direction: Any, change: Any) -> None:
        """Take the last step of converged problems and leave them."""
        import torch

        slots, left = self.alive[done], ~done
        self.found.W[slots] = self.W[done] + direction[done]
        self.found.losses[slots.numpy()] = self.problem.loss(self.logits[done] + change[done])
        for slot, row in zip(slots.tolist(), torch.nonzero(done)[:, 0].tolist(), strict=True):
            self.found.pairs[slot] = [(s[row].clone(), y[row].clone()) for s, y, _ in self.pairs]
        self.alive, self.W, self.C = self.alive[left], self.W[left], self.C[left]
        self.logits, self.gradient = self.logits[left], self.gradient[left]
        self.rotation, self.inverse = self.rotation[left], self.inverse[left]
        self.pairs = [(s[left], y[left], inverse[left]) for s, y, inverse in self.pairs]


def _moments(Z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sums of squares of the columns."""
    moments: np.ndarray = np.einsum("ij,ij,i->j", Z, Z, weights, optimize=False)
    return moments


def _dot(a: Any, b: Any) -> Any:
    import torch

    # A product of matrices needs no copy of the size of its factors, unlike `vecdot`.
    return torch.bmm(a.reshape(len(a), 1, -1), b.reshape(len(b), -1, 1)).view(-1)


def _inverse(values: Any) -> Any:
    """Return 1 / values, 0 where they are not positive."""
    import torch

    return torch.where(values > 0, 1.0 / values, 0.0)
