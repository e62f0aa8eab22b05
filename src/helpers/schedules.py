"""How long and how fast a training goes: steps, batches, crops and the learning rate over time."""

import math
from dataclasses import dataclass

import torch

SHAPES = ("one-cycle", "cosine")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: ``steps`` batches of ``batch`` crops of ``patch`` voxels.

    Attributes
    ----------
    steps, batch : int
    patch : int, or one per axis
        Side of a crop in voxels.
    learning_rate : float
        The schedule's maximum.
    shape : str
        "one-cycle" (up to the maximum in 30 % of the steps and down to nothing [1]_) or "cosine" (down from it).
    clip : float, optional
        Largest norm of the gradient, over all weights; a longer one is shortened to it.
    balance : float
        Share of the crops that are drawn around foreground, as :class:`helpers.crops.Crops` has it.

    References
    ----------
    .. [1] Smith and Topin 2019, doi:10.1117/12.2520589
    """

    steps: int = 600
    batch: int = 4
    patch: int | tuple[int, ...] = 128
    learning_rate: float = 3e-3
    shape: str = "one-cycle"
    clip: float | None = None
    balance: float = 0.0

    def __post_init__(self):
        if isinstance(self.patch, list):
            object.__setattr__(self, "patch", tuple(self.patch))
        sides = self.patch if isinstance(self.patch, tuple) else (self.patch,)
        for name, values in {"steps": (self.steps,), "batch": (self.batch,), "patch": sides or (0,)}.items():
            if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in values):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a whole number of at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate!r}; expected a positive number such as 3e-3")
        if self.shape not in SHAPES:
            raise ValueError(f"shape is {self.shape!r}; expected one of {', '.join(SHAPES)}")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"clip is {self.clip!r}; expected a positive norm such as 1.0, or None for no clipping")
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance is {self.balance!r}; expected a share from 0 to 1")


def make_rate(optimizer: torch.optim.Optimizer, schedule: Schedule) -> torch.optim.lr_scheduler.LRScheduler:
    if schedule.shape == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=schedule.steps)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)


def sides_of(patch: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    sides = (patch,) * dims if isinstance(patch, int) else patch
    if len(sides) != dims:
        raise ValueError(f"patch is {patch}; expected one number, or {dims}, one per axis")
    return sides
