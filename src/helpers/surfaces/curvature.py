"""How curved a loss is at a point: the ends of its Hessian's spectrum, and its gradient's length.

A plane shows two directions of very many; the Hessian's largest eigenvalues say how sharp the sharpest direction is,
and its most negative one whether the point is a minimum at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Curvature:
    """Of a loss at a point.

    Attributes
    ----------
    largest : tuple of float
        The largest eigenvalues of the Hessian, descending; NaN where they did not converge.
    smallest : float
        The smallest (most negative) one.
    gradient_norm : float
    products : int
        Hessian-vector products that this took.
    """

    largest: tuple[float, ...]
    smallest: float
    gradient_norm: float
    products: int


def curvature(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    *,
    largest: int = 3,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Curvature:
    """Ends of the Hessian's spectrum by Lanczos' method, from Hessian-vector products: the matrix is never made.

    Parameters
    ----------
    loss : callable
        () -> scalar tensor, twice differentiable by autograd in the parameters.
    parameters : sequence of tensors that require a gradient
        With P numbers in all.
    largest : int
        How many of the largest eigenvalues, fewer than P.
    tolerance : float
        Relative accuracy of the eigenvalues.
    seed : int
        Of the vector that Lanczos' method starts from.

    Raises
    ------
    ValueError
        A number of eigenvalues that the Hessian does not have; a loss or gradient that is not finite.

    Notes
    -----
    ARPACK's implicitly restarted Lanczos [1]_ on autograd's products [2]_. What a loss hides from autograd (a detached
    factor) is missing from its curvature. Piecewise linear networks are curved where their kinks are not.

    References
    ----------
    .. [1] Lehoucq, Sorensen and Yang 1998, ARPACK users' guide; as scipy.sparse.linalg.eigsh
    .. [2] Pearlmutter 1994, doi:10.1162/neco.1994.6.1.147
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    parameters = list(parameters)
    size = sum(p.numel() for p in parameters)
    if not (isinstance(largest, int) and 1 <= largest < size - 1):
        raise ValueError(f"{largest!r} eigenvalues of a Hessian of {size} weights; expected from 1 to {size - 2}")
    value = loss()
    gradient = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
    flat = _flattened(gradient, parameters)
    norm = float(flat.detach().double().norm())
    if not np.isfinite(norm):
        raise ValueError(
            f"the gradient is not finite (loss {value.item():g}): there is no curvature at a diverged point"
        )
    if not flat.requires_grad:  # a loss that is linear in the parameters
        return Curvature((0.0,) * largest, 0.0, norm, 0)
    products = 0

    def multiply(vector: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        direction = torch.from_numpy(np.ascontiguousarray(vector).ravel()).to(flat)
        result = torch.autograd.grad(flat @ direction, parameters, retain_graph=True, allow_unused=True)
        return _flattened(result, parameters).double().cpu().numpy()

    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)

    def ends(count: int, which: str) -> list[float]:
        basis = min(size, max(2 * count + 1, 20))
        try:
            found = eigsh(operator, count, which=which, tol=tolerance, v0=start, ncv=basis, return_eigenvectors=False)
        except ArpackNoConvergence as error:
            found = error.eigenvalues
        return sorted(map(float, found), reverse=True) + [float("nan")] * (count - len(found))

    return Curvature(tuple(ends(largest, "LA")), ends(1, "SA")[0], norm, products)


def _flattened(gradient: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    """One vector; zeros for the parameters that the gradient does not depend on."""
    pairs = zip(gradient, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
