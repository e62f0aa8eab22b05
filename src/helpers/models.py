"""Networks, 2-D and 3-D, that know nothing of what they predict.

:func:`build` makes one by name, and ``network.arguments`` is what builds it again. The published comparison trained
its generator against a discriminator (pix2pix); that adversarial term is out of scope here: one network, one loss.
"""

import difflib
import math
from typing import Any

import torch
from torch import Tensor, nn

NORMS = ("batch", "instance", "group", "none")
_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_GROUPS = 8  # of GroupNorm, or the largest divisor of the channels below it


class Network(nn.Module):
    """What every network here says of itself.

    Attributes
    ----------
    arguments : dict
        ``build(**network.arguments)`` makes a network of the same form.
    in_channels, out_channels, dims, width, depth : int
    norm : str
        "batch": running statistics; "instance", "group" (8 groups): statistics of the image at hand; "none".
    """

    name: str

    def __init__(self, in_channels: int, out_channels: int, dims: int, norm: str, **sizes: int):
        super().__init__()
        if dims not in (2, 3):
            raise ValueError(f"dims is {dims!r}; expected 2 or 3")
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; expected one of {', '.join(NORMS)}")
        for argument, value in {"in_channels": in_channels, "out_channels": out_channels, **sizes}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{argument} is {value!r}; expected a whole number of at least 1")
        self.in_channels, self.out_channels, self.dims, self.norm = in_channels, out_channels, dims, norm
        self.width, self.depth = sizes["width"], sizes["depth"]
        self.arguments: dict[str, Any] = {
            "name": self.name,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "dims": dims,
            **sizes,
            "norm": norm,
        }

    @property
    def divisor(self) -> int:
        """Every spatial size of the input must be a multiple of this."""
        return 2**self.depth

    @property
    def n_weights(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def blockwise(self) -> bool:
        """Is a voxel's answer, in evaluation mode, the same whatever block it is computed in?

        Not where the normalisation looks at the whole input. The block must reach :attr:`reach` voxels beyond, and
        start at a multiple of :attr:`divisor`.
        """
        return self.norm in ("batch", "none")

    def sees(self, position: int) -> tuple[int, int]:
        """First and last input voxel, along any axis, that the answer at ``position`` depends on."""
        raise NotImplementedError

    @property
    def reach(self) -> tuple[int, ...]:
        """How far the answer at a voxel depends on the input, in voxels on either side of it, per axis.

        The most over all positions in the grid of the halvings, without what a normalisation looks at.
        """
        seen = [(p, *self.sees(p)) for p in range(self.divisor)]
        return (max(max(p - first, last - p) for p, first, last in seen),) * self.dims

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Number of input voxels that one answer depends on, per axis: the most over all positions."""
        seen = [self.sees(p) for p in range(self.divisor)]
        return (max(last - first + 1 for first, last in seen),) * self.dims

    def _check(self, raw: Tensor) -> None:
        if raw.ndim != 2 + self.dims or raw.shape[1] != self.in_channels:
            raise ValueError(
                f"input of shape {tuple(raw.shape)}; this network takes (batch, {self.in_channels}, "
                f"{', '.join('zyx'[-self.dims :])})"
            )
        if any(size % self.divisor for size in raw.shape[2:]):
            raise ValueError(
                f"image of size {tuple(raw.shape[2:])}; a {type(self).__name__} of depth {self.depth} needs multiples "
                f"of {self.divisor}"
            )


class UNet(Network):
    """U-Net with two 3-wide convolutions a level, doubling its width at each of ``depth`` halvings.

    Parameters
    ----------
    in_channels, out_channels : int
    dims : int
        2 or 3.
    width : int
        Channels of the first level.
    depth : int
        Number of halvings; every spatial size must be divisible by ``divisor`` = 2**depth.
    norm : str
        One of NORMS. BatchNorm's running statistics make a voxel's answer independent of the block it is computed in
        (``blockwise``); instance and group normalisation do not.

    Notes
    -----
    Input is grey in [0, 1], shape (B, in_channels, *S); output is logits, shape (B, out_channels, *S). Convolutions
    are zero-padded.

    References
    ----------
    .. [1] Ronneberger, Fischer and Brox 2015, doi:10.1007/978-3-319-24574-4_28
    """

    name = "unet"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dims: int = 2,
        width: int = 8,
        depth: int = 3,
        norm: str = "batch",
    ):
        super().__init__(in_channels, out_channels, dims, norm, width=width, depth=depth)
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _double_convolution(dims, norm, before, after)
            for before, after in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _double_convolution(dims, norm, below + across, across)
            for below, across in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.pool = _POOL[dims](2)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = _CONVOLUTION[dims](width, out_channels, 1)

    def forward(self, raw: Tensor) -> Tensor:
        self._check(raw)
        x = (raw - 0.5) * 4  # EM greys lie around one half with a deviation near one quarter
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            skipped.append(x)
        for block, across in zip(self.up, skipped[-2::-1], strict=True):
            x = block(torch.cat((self.enlarge(x), across), 1))
        return self.head(x)

    def sees(self, position: int) -> tuple[int, int]:
        """First and last input voxel, along any axis, that the answer at ``position`` depends on."""
        first = last = position
        across = []  # what each skip connection is asked for
        for _ in range(self.depth):
            first, last = first - 2, last + 2  # two 3-wide convolutions
            across.append((first, last))
            first, last = first // 2, last // 2  # the nearest of the level below
        for span in reversed(across):
            first, last = 2 * (first - 2), 2 * (last + 2) + 1  # two convolutions, and both voxels of each pool
            first, last = min(first, span[0]), max(last, span[1])
        return first - 2, last + 2


class ResNet(Network):
    """Residual generator: a 7-wide convolution, halvings, residual blocks, doublings, a 7-wide convolution.

    Parameters
    ----------
    in_channels, out_channels : int
    dims : int
        2 or 3.
    width : int
        Channels of the first level; the blocks have ``width * 2**depth``.
    depth : int
        Number of halvings; every spatial size must be divisible by ``divisor`` = 2**depth.
    blocks : int
        Residual blocks of two 3-wide convolutions.
    norm : str
        One of NORMS.
    variant : str
        "published": the generator of the published comparison on the VNC data [1]_, "24 layers" at 9 blocks: zero
        padding, no normalisation and no ReLU before the blocks, a ReLU at the end of each branch, 4-wide transposed
        convolutions, no bias anywhere. "cyclegan": ``resnet_9blocks`` of pix2pix and CycleGAN [2]_ (with width 64):
        reflection padding of the 7-wide and the blocks' convolutions, normalisation and ReLU after every convolution
        but the last, no ReLU at the end of a branch, 3-wide transposed convolutions.

    Notes
    -----
    Input is grey in [0, 1], shape (B, in_channels, *S); output is logits, shape (B, out_channels, *S): the tanh that
    both sources end with is the objectives' to apply. Weights start normal with deviation 0.02, as in both. [1]_
    normalises by the statistics of the batch (of one image) when it is applied too: that is ``norm="instance"``; the
    default's running statistics keep ``blockwise``. The discriminator that both train against is out of scope.

    References
    ----------
    .. [1] github.com/tbullmann/imagetranslation-tensorflow, used by github.com/MarvinLavechin/daem
    .. [2] Zhu, Park, Isola and Efros 2017, doi:10.1109/ICCV.2017.244; Isola et al. 2017, doi:10.1109/CVPR.2017.632
    """

    name = "resnet"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dims: int = 2,
        width: int = 32,
        depth: int = 2,
        blocks: int = 9,
        norm: str = "batch",
        variant: str = "published",
    ):
        super().__init__(in_channels, out_channels, dims, norm, width=width, depth=depth, blocks=blocks)
        if variant not in ("published", "cyclegan"):
            raise ValueError(f"variant is {variant!r}; expected published or cyclegan")
        self.arguments["variant"] = variant
        self.variant, self.n_blocks = variant, blocks
        published = variant == "published"
        padding = "zeros" if published else "reflect"
        bias, last_bias = norm == "none" and not published, not published
        convolution, transposed = _CONVOLUTION[dims], _TRANSPOSED[dims]

        def finish(channels: int) -> list[nn.Module]:
            return [*_norm(dims, norm, channels), nn.ReLU(inplace=True)]

        widths = [width * 2**level for level in range(depth + 1)]
        layers = [convolution(in_channels, width, 7, padding=3, padding_mode=padding, bias=bias)]
        layers += [] if published else finish(width)
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [convolution(before, after, 3, stride=2, padding=1, bias=bias)]
            layers += [] if published else finish(after)
        self.encoder = nn.Sequential(*layers)
        inner, branches = widths[-1], []
        for _ in range(blocks):
            first, second = (convolution(inner, inner, 3, padding=1, padding_mode=padding, bias=bias) for _ in "12")
            end = finish(inner) if published else _norm(dims, norm, inner)
            branches.append(nn.Sequential(first, *finish(inner), second, *end))
        self.blocks = nn.ModuleList(branches)
        layers = []
        for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True):
            size = {"kernel_size": 4} if published else {"kernel_size": 3, "output_padding": 1}
            layers += [transposed(before, after, stride=2, padding=1, bias=bias, **size), *finish(after)]
        layers += [convolution(width, out_channels, 7, padding=3, padding_mode=padding, bias=last_bias)]
        self.decoder = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, (convolution, transposed)) and norm != "none":
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, tuple(_BATCH.values()) + tuple(_INSTANCE.values()) + (nn.GroupNorm,)):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, raw: Tensor) -> Tensor:
        self._check(raw)
        x = self.encoder(raw * 2 - 1)
        for branch in self.blocks:
            x = x + branch(x)
        return self.decoder(x)

    def sees(self, position: int) -> tuple[int, int]:
        """First and last input voxel, along any axis, that the answer at ``position`` depends on."""
        first, last = position - 3, position + 3
        kernel = 4 if self.variant == "published" else 3
        for _ in range(self.depth):  # voxel i of the level below gives 2 i - 1, ..., 2 i + kernel - 2
            first, last = -((kernel - 2 - first) // 2), (last + 1) // 2
        first, last = first - 2 * self.n_blocks, last + 2 * self.n_blocks
        for _ in range(self.depth):
            first, last = 2 * first - 1, 2 * last + 1
        return first - 3, last + 3


_NETWORKS = {"unet": UNet, "resnet": ResNet}


def names() -> list[str]:
    """The names that :func:`build` takes."""
    return list(_NETWORKS)


def build(name: str, in_channels: int, out_channels: int, **arguments: Any) -> Network:
    """The network of that name: "unet" (:class:`UNet`) or "resnet" (:class:`ResNet`).

    Raises
    ------
    ValueError
        Unknown name or argument (the message lists the valid ones), or a value that the network refuses.
    """
    if name not in _NETWORKS:
        close = difflib.get_close_matches(str(name), _NETWORKS, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"network is {name!r}; expected one of {', '.join(_NETWORKS)}{hint}")
    made = _NETWORKS[name]
    valid = made.__init__.__kwdefaults__
    unknown = [argument for argument in arguments if argument not in valid]
    if unknown:
        raise ValueError(f"{name} has no argument {unknown[0]!r}; its arguments: {', '.join(valid)}")
    return made(in_channels, out_channels, **arguments)


def _double_convolution(dims: int, norm: str, before: int, after: int) -> nn.Sequential:
    layers = []
    for channels in (before, after):
        layers += [
            _CONVOLUTION[dims](channels, after, 3, padding=1, bias=norm == "none"),
            *_norm(dims, norm, after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _norm(dims: int, norm: str, channels: int) -> list[nn.Module]:
    if norm == "batch":
        return [_BATCH[dims](channels)]
    if norm == "instance":
        return [_INSTANCE[dims](channels, affine=True)]
    return [nn.GroupNorm(math.gcd(_GROUPS, channels), channels)] if norm == "group" else []
