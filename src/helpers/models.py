"""Networks, 2-D and 3-D, that know nothing of what they predict."""

import torch
from torch import Tensor, nn

_LAYERS = {2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d), 3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d)}


class UNet(nn.Module):
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

    Notes
    -----
    Input is grey in [0, 1], shape (B, in_channels, *S); output is logits, shape (B, out_channels, *S). Normalisation
    is by BatchNorm, whose running statistics make a voxel's answer independent of the block it is computed in
    (GroupNorm would not). Convolutions are zero-padded.

    References
    ----------
    .. [1] Ronneberger, Fischer and Brox 2015, doi:10.1007/978-3-319-24574-4_28
    """

    def __init__(self, in_channels: int, out_channels: int, *, dims: int = 2, width: int = 8, depth: int = 3):
        super().__init__()
        if dims not in _LAYERS:
            raise ValueError(f"dims is {dims!r}; expected 2 or 3")
        for name, value in {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
        }.items():
            if value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
        self.dims, self.depth = dims, depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _double_convolution(dims, before, after)
            for before, after in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _double_convolution(dims, below + across, across)
            for below, across in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.pool = _LAYERS[dims][2](2)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = _LAYERS[dims][0](width, out_channels, 1)

    @property
    def divisor(self) -> int:
        """Every spatial size of the input must be a multiple of this."""
        return 2**self.depth

    @property
    def n_weights(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def forward(self, raw: Tensor) -> Tensor:
        if any(size % self.divisor for size in raw.shape[2:]):
            raise ValueError(
                f"image of size {tuple(raw.shape[2:])}; a U-Net of depth {self.depth} needs multiples of {self.divisor}"
            )
        x = (raw - 0.5) * 4  # EM greys lie around one half with a deviation near one quarter
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            skipped.append(x)
        for block, across in zip(self.up, skipped[-2::-1], strict=True):
            x = block(torch.cat((self.enlarge(x), across), 1))
        return self.head(x)


def _double_convolution(dims: int, before: int, after: int) -> nn.Sequential:
    convolution, norm, _ = _LAYERS[dims]
    return nn.Sequential(
        convolution(before, after, 3, padding=1, bias=False),
        norm(after),
        nn.ReLU(inplace=True),
        convolution(after, after, 3, padding=1, bias=False),
        norm(after),
        nn.ReLU(inplace=True),
    )
