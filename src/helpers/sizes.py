"""How large the blocks are that a network goes through, for the memory that it may take."""

import math
from collections.abc import Sequence

import torch
from torch import nn

WINDOW = {2: 2**20, 3: 2**21}  # voxels at once through a network, at most: more is no faster
SHARD = 2**21  # voxels of a block of sections, about


@torch.no_grad()
def bytes_per_voxel(network: nn.Module) -> float:
    """Memory that the network's layers take at once for each voxel of its input, about.

    Twice the largest sum of a layer's inputs and output, measured on a small image: what a layer reads is still held
    by others, and libraries keep copies in a layout of their own.
    """
    largest, weights = 0, next(network.parameters())
    side = 2 * network.divisor

    def see(module, inputs, output):
        nonlocal largest
        largest = max(largest, sum(t.numel() * t.element_size() for t in (*inputs, output) if torch.is_tensor(t)))

    hooks = [m.register_forward_hook(see) for m in network.modules() if not list(m.children())]
    channels = next(m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))).in_channels
    network(torch.zeros((1, channels, *(side,) * network.dims), device=weights.device, dtype=weights.dtype))
    for hook in hooks:
        hook.remove()
    return 2 * largest / side**network.dims


def choose_block(
    shape: Sequence[int], dims: int, halo: Sequence[int], divisor: int, voxels: float, block: Sequence[int] | None
) -> tuple[tuple[int, ...], int]:
    """Size of a block, and how many of its sections go through a 2-D network at once.

    ``voxels`` is what the network may see at once, the halo included. No side is made smaller than the halo, below
    which nearly all is halo, whatever the memory.
    """
    lead, plane = len(shape) - dims, [multiple(n, divisor) for n in shape[len(shape) - dims :]]
    if block is not None:
        if len(block) != len(shape) or min(block) < 1 or any(b % divisor for b in block[lead:]):
            raise ValueError(
                f"block is {tuple(block)}; expected {len(shape)} sizes, multiples of {divisor} along the last {dims}"
            )
        tile = list(block[lead:])
    else:
        shared = math.lcm(divisor, 16)  # sides above 64 are multiples of this, so that chunks can share them
        side = multiple(max(plane), shared)
        least = multiple(max(32, *halo), divisor)
        while side > least and math.prod(min(side + 2 * h, n) for h, n in zip(halo, plane, strict=True)) > voxels:
            side -= shared if side > 64 and side % shared == 0 and side - shared >= least else divisor
        # Two blocks are made alike. More are not: what the network sees at once would depend on the volume's size.
        tile = [side if n > 2 * side else multiple(math.ceil(n / math.ceil(n / side)), divisor) for n in plane]
        tile = [min(multiple(t, shared), side) if t > 64 else t for t in tile]
    if not lead:
        return tuple(tile), 1
    batch = max(1, int(voxels // window_voxels(shape, dims, halo, divisor, tile)))
    if block is not None:
        return tuple(block), batch
    deep = batch * max(1, round(SHARD / (batch * math.prod(tile))))
    deep = min(deep if deep <= 64 else deep // 32 * 32, multiple(shape[0], 8))
    return (deep, *tile), min(batch, deep)


def window_voxels(shape: Sequence[int], dims: int, halo: Sequence[int], divisor: int, block: Sequence[int]) -> int:
    """Voxels that the network sees at once for a block (for one section of it, if 2-D): halo included, at most."""
    sides = zip(block[-dims:], halo, shape[-dims:], strict=True)
    return math.prod(min(b + 2 * h, multiple(n, divisor)) for b, h, n in sides)


def multiple(length: int, of: int) -> int:
    """The next multiple of ``of``."""
    return -(-length // of) * of


def chunk_of(block: Sequence[int], dims: int) -> tuple[int, ...]:
    """Chunks inside a block: what a viewer reads at once."""
    most = [64] * (len(block) - 2) + [64 if dims == 3 else 256] * 2
    return tuple(max(d for d in range(1, min(b, m) + 1) if b % d == 0) for b, m in zip(block, most, strict=True))
