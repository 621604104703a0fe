"""Newton's method for softmax regression: many strengths share every matrix product."""

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_BLOCK = 32  # columns; matrices in bfloat16 multiply twice as fast in whole blocks
_FEW_ROWS = 64
_MAX_STEPS = 60
_MAX_PRODUCTS = 60  # Hessian-vector products for one direction
_FORCING = 0.05  # of the gradient's norm that a direction may leave
_MAX_TRIALS = 12  # step lengths tried along one direction
_SLOPE = 0.1  # of the initial slope that a step may leave
_FLOATS_AT_ONCE = 2**25  # of all problems that are solved together


@dataclass(frozen=True)
class Solution:
    """Solved problems, in the order of `strengths`.

    Args:
        strengths: Inverse strengths, shape (n_strengths,).
        W: Weights of shape (n_strengths, n_classes, width), the bias in column n_inputs, zeros
            after it.
        losses: Mean training losses, nats.
    """

    strengths: np.ndarray
    W: "torch.Tensor"
    losses: np.ndarray

    def join(self, other: "Solution") -> "Solution":
        """Return the problems of both."""
        import torch

        return Solution(
            np.concatenate([self.strengths, other.strengths]),
            torch.cat([self.W, other.W]),
            np.concatenate([self.losses, other.losses]),
        )


class SoftmaxRegression:
    """Minimise `C * sum_i w_i * logloss_i + 0.5 * ||W||^2` for many C at once.

    Directions come from conjugate gradients, preconditioned by the product of the inputs' second
    moments, diagonal in the basis that the caller rotated to, and the classes' variances under the
    current predictions. Products with the Hessian run in bfloat16 where the processor multiplies
    matrices of it: a direction need be good to a twentieth only. Gradients are float32, of
    residuals without cancellation: with weak regularisation the smallest of them count.

    Args:
        Z: Inputs of shape (n_samples, n_inputs) float32, centred, nearly uncorrelated columns.
        y: Class codes of shape (n_samples,); every class occurs.
        sample_weights: Shape (n_samples,), or None.
        tol: Error of the decision values to stop at, relative to the largest.

    References:
        Nocedal, Wright: Numerical Optimization. 2006, algorithm 7.1 (line search Newton-CG).
    """

    def __init__(
        self, Z: np.ndarray, y: np.ndarray, sample_weights: np.ndarray | None, tol: float
    ) -> None:
        import torch

        n, bias = Z.shape
        width = -(-(bias + 1) // _BLOCK) * _BLOCK  # the columns that fill up stay zero
        self.Z = torch.zeros(n, width)
        self.Z[:, :bias] = torch.from_numpy(Z)
        self.Z[:, bias] = 1.0
        self.coarse = self.Z.bfloat16() if multiplies_bfloat16() else self.Z
        self.across = self.coarse.T.contiguous()
        weights = np.ones(n) if sample_weights is None else sample_weights
        self.weights = torch.from_numpy(np.asarray(weights, np.float32))
        self.weighted = sample_weights is not None
        self.moments = self.weights @ self.Z.square()
        self.penalty = torch.ones(width)
        self.penalty[bias] = 0.0
        self.n, self.n_classes, self.tol = n, int(y.max()) + 1, tol
        self.own = torch.from_numpy(y * n + np.arange(n))  # in a flattened (n_classes, n_samples)

    def solve(self, strengths: np.ndarray, start: "torch.Tensor | None" = None) -> Solution:
        """Solve for inverse strengths, from weights that are near where they are known."""
        import torch

        shape = (len(strengths), self.n_classes, self.Z.shape[1])
        start = torch.zeros(shape) if start is None else start
        size = max(1, _FLOATS_AT_ONCE // (self.n_classes * (6 * self.n + 12 * shape[2])))
        with torch.inference_mode():
            parts = [
                _Descent(self, strengths[at : at + size], start[at : at + size]).run()
                for at in range(0, len(strengths), size)
            ]
        return reduce(Solution.join, parts)

    def distance(self, W: "torch.Tensor", other: "torch.Tensor") -> float:
        """Return the largest difference of decision values, relative to the largest value."""
        size, largest = (self.forward(_centred(v)).abs().amax((1, 2)) for v in (other - W, other))
        return float((size / largest).max())

    def forward(self, W: "torch.Tensor") -> "torch.Tensor":
        """Return logits of shape (n_problems, n_classes, n_samples)."""
        logits: torch.Tensor = _product(W.reshape(-1, W.shape[2]), self.Z, self.Z.T)
        return logits.view(*W.shape[:2], self.n)

    def residual(self, logits: "torch.Tensor") -> "torch.Tensor":
        """Return weighted probabilities minus truth."""
        import torch

        residual = torch.softmax(logits, 1)
        flat = residual.view(len(logits), -1)
        flat[:, self.own] = 0.0
        # Not the probability minus one: near one nothing would be left of it.
        flat[:, self.own] = -residual.sum(1)
        return residual.mul_(self.weights) if self.weighted else residual

    def probabilities(self, residual: "torch.Tensor") -> "torch.Tensor":
        """Return weighted probabilities from what `residual` returned."""
        P = residual.clone()
        P.view(len(P), -1)[:, self.own] += self.weights
        return P

    def gradient(
        self, residual: "torch.Tensor", W: "torch.Tensor", C: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return the gradient, of the shape of `W`."""
        gradient = (residual.view(-1, self.n) @ self.Z).view(W.shape)
        return _centred(gradient.mul_(C[:, None, None]).addcmul_(W, self.penalty))

    def hessian(self, P: "torch.Tensor", C: "torch.Tensor", v: "torch.Tensor") -> "torch.Tensor":
        """Return the Hessian at weighted probabilities `P` times `v`."""
        kind = self.coarse.dtype
        rows = v.reshape(-1, v.shape[2]).to(kind)
        u = _product(rows, self.coarse, self.across).view(P.shape).float()
        moved = P * u
        total = moved.sum(1, keepdim=True)
        moved -= P * (total / self.weights if self.weighted else total)
        rows = moved.view(-1, self.n).to(kind)
        product: torch.Tensor = _product(rows, self.across, self.coarse).float().view(v.shape)
        return product.mul_(C[:, None, None]).addcmul_(v, self.penalty)

    def loss(self, logits: "torch.Tensor") -> np.ndarray:
        """Return mean losses of shape (n_problems,), nats."""
        own = logits.reshape(len(logits), -1)[:, self.own]
        losses: np.ndarray = (logits.logsumexp(1) - own).double().mean(1).numpy()
        return losses


class _Preconditioner:
    """The inverse of an approximated Hessian, for a few problems."""

    def __init__(self, problem: SoftmaxRegression, P: Any, C: Any) -> None:
        share = P / problem.weights if problem.weighted else P
        spread = (P * (1.0 - share)).sum(2, keepdim=True) / problem.weights.sum()
        self.inverse = 1.0 / (C[:, None, None] * spread * problem.moments + problem.penalty)

    def __call__(self, v: Any) -> Any:
        return _centred(v * self.inverse)

    def keep(self, left: Any) -> None:
        self.inverse = self.inverse[left]


class _Descent:
    """Problems that have not converged yet, shrinking as they do."""

    def __init__(self, problem: SoftmaxRegression, strengths: np.ndarray, W: Any) -> None:
        import torch

        self.problem, self.W = problem, _centred(W)
        self.C = torch.from_numpy(strengths).float()
        self.alive = torch.arange(len(strengths))
        self.found = Solution(strengths, torch.empty_like(W), np.zeros(len(W)))

    def run(self) -> Solution:
        problem = self.problem
        self.logits = problem.forward(self.W)
        residual = problem.residual(self.logits)
        for step in range(_MAX_STEPS):
            gradient = problem.gradient(residual, self.W, self.C)
            direction = self._direction(gradient, problem.probabilities(residual))
            change = problem.forward(direction)
            moved = change.abs().amax((1, 2))
            # What conjugate gradients leave of a step, or what Newton's method itself leaves.
            left = moved * moved.clamp(min=_FORCING)
            done = 2 * left <= problem.tol * self.logits.abs().amax((1, 2))
            if step == _MAX_STEPS - 1:  # a point that stops here is still a usable candidate
                done |= True
            if done.any():
                self._finish(done, direction, change)
                if not len(self.alive):
                    break
                direction, change, gradient = (v[~done] for v in (direction, change, gradient))
            residual = self._advance(gradient, direction, change)
        return self.found

    def _direction(self, gradient: Any, P: Any) -> Any:
        """Solve `Hessian @ direction = -gradient` by conjugate gradients."""
        import torch

        scale = gradient.abs().amax((1, 2)).clamp(min=1e-30)[:, None, None]
        left, C = torch.arange(len(P)), self.C
        rest = -(gradient / scale).float()
        solved = torch.zeros_like(rest)
        found = torch.zeros_like(rest)
        preconditioner = _Preconditioner(self.problem, P, C)
        step = preconditioned = preconditioner(rest)
        size = first = _dot(rest, preconditioned)
        for _ in range(_MAX_PRODUCTS):
            product = _centred(self.problem.hessian(P, C, step))
            bend = _dot(step, product)
            length = torch.where(bend > 0, size / bend, 0.0)
            solved = solved.addcmul(length[:, None, None], step)
            rest = rest.addcmul(-length[:, None, None], product)
            preconditioned = preconditioner(rest)
            before, size = size, _dot(rest, preconditioned)
            over = (size <= _FORCING**2 * first) | (bend <= 0) | (size > 4 * before)
            step = preconditioned + (size / before.clamp(min=1e-38))[:, None, None] * step
            if not over.any():
                continue
            found[left[over]] = solved[over]
            go = ~over
            if not go.any():
                return (found * scale.float()).nan_to_num()
            left, P, C, rest, solved, step = (v[go] for v in (left, P, C, rest, solved, step))
            size, first = size[go], first[go]
            preconditioner.keep(go)
        found[left] = solved
        return (found * scale.float()).nan_to_num()

    def _advance(self, gradient: Any, direction: Any, change: Any) -> Any:
        """Move along `direction`, whose logits are `change`; returns the residuals there."""
        length, residual = self._search(gradient, direction, change)
        self.W = self.W + direction * length[:, None, None]
        return residual

    def _search(self, gradient: Any, direction: Any, change: Any) -> tuple[Any, Any]:
        """Return step lengths that leave little slope, and the residuals there.

        Along a line the logits are linear: a trial costs no matrix product.
        """
        import torch

        penalised = direction * self.problem.penalty
        at_start, growth = _dot(self.W, penalised), _dot(direction, penalised)
        slope = _dot(gradient, direction)
        length, logits, residual = torch.ones_like(self.C), self.logits, change
        for trial in range(_MAX_TRIALS):
            logits = torch.addcmul(self.logits, change, length[:, None, None])
            residual = self.problem.residual(logits)
            here = self.C * _dot(residual, change) + at_start + length * growth
            bad = here.abs() > _SLOPE * slope.abs()
            if not bad.any() or trial == _MAX_TRIALS - 1:
                break
            # The slope rises along the line (the loss is convex), so the secant brackets.
            secant = slope / (slope - here)
            longer = torch.where(slope < here, secant.clamp(1.1, 4.0), 4.0)
            length = torch.where(bad, length * torch.where(here > 0, secant, longer), length)
        self.logits = logits
        return length, residual

    def _finish(self, done: Any, direction: Any, change: Any) -> None:
        """Take the last step of converged problems and leave them."""
        slots, left = self.alive[done], ~done
        self.found.W[slots] = self.W[done] + direction[done]
        self.found.losses[slots.numpy()] = self.problem.loss(self.logits[done] + change[done])
        self.alive, self.W, self.C = self.alive[left], self.W[left], self.C[left]
        self.logits = self.logits[left]


def multiplies_bfloat16() -> bool:
    """Say whether this processor multiplies matrices of bfloat16 much faster than float32."""
    import torch

    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(supported()) if supported is not None else False


def _product(rows: Any, left: Any, right: Any) -> Any:
    """Return `rows @ right`, where `left` is `right` transposed.

    Libraries copy the right factor into blocks first: few rows are faster there themselves.
    """
    return rows @ right if len(rows) > _FEW_ROWS else (left @ rows.T).T.contiguous()


def _centred(v: "torch.Tensor") -> "torch.Tensor":
    """Take off the mean over classes, which softmax ignores and which no solution has."""
    centred: torch.Tensor = v - v.mean(1, keepdim=True)
    return centred


def _dot(a: Any, b: Any) -> Any:
    return (a * b).flatten(1).sum(1)
