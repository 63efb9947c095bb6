"""The 3x3 convolution of the SR networks. It takes less time and memory than the same layers as plain modules.

Two things differ from the plain modules of docs/method.md section 2. The results do not differ (tests compare values
and gradients):

- Padded maps are not kept for the backward pass; they are computed again there.
- After nearest x2 and reflection padding, a 3x3 convolution reads each LR pixel several times. Its taps, added up, are
  one transposed convolution (4x4, stride 2) of the LR map padded by replication: 4 products per output pixel, not 9.

On a GPU, PyTorch pads maps that lie channels last by way of copies in the other layout, and adds up its gradients in
any order. There the border is joined to the map, and its gradient added to the map's, so that a training's bits repeat.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scale = Literal["same", "down", "up"]
Mode = Literal["reflect", "replicate"]

_PAD = [1, 1, 1, 1]
_MIRRORED: dict[Mode, int] = {"reflect": 1, "replicate": 0}
"""Row of the map, counted from its border, that the padded row shows."""
_TAPS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))
"""Row (or column) p of the 4x4 kernel is the sum of these rows of the 3x3 kernel."""


class ConvLayer(nn.Module):
    """[nearest x2] -> ReflectionPad(1) -> 3x3 conv -> [BatchNorm] -> [LeakyReLU 0.2].

    (N, c_in, H, W) float -> (N, c_out, H', W') float; H' is H, H/2 (``down``) or 2H (``up``).
    The convolution has a bias only where no norm follows it (docs/method.md section 2).
    """

    def __init__(self, c_in: int, c_out: int, scale: Scale = "same", *, norm: bool = False, act: bool = False):
        super().__init__()
        self.scale, self.act = scale, act
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=2 if scale == "down" else 1, bias=not norm)
        self.norm = nn.BatchNorm2d(c_out) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        y = self._convolve(x)
        if self.norm is not None:
            y = self.norm(y)
        if not self.act:
            return y
        traced = torch.compiler.is_compiling()  # by torch.export too, which takes long to undo what is in place
        return F.leaky_relu(y, 0.2, inplace=not traced)

    def _convolve(self, x: Tensor) -> Tensor:
        weight, bias, stride = self.conv.weight, self.conv.bias, self.conv.stride[0]
        if x.is_meta:  # to count multiply-accumulates: the definition
            x = F.interpolate(x, scale_factor=2, mode="nearest") if self.scale == "up" else x
            return _reflect(x, weight, bias, stride)
        if torch.is_autocast_enabled(x.device.type):  # the functions below see one dtype, forward and backward
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        if not torch.is_grad_enabled():
            return _up(x, weight, bias) if self.scale == "up" else _reflect(x, weight, bias, stride)
        if self.scale == "up":
            return _Up.apply(x, weight, bias)
        return _Reflect.apply(x, weight, bias, stride)


def _reflect(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return F.conv2d(_padded(x, "reflect"), weight, bias, stride)


def _up(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv_transpose2d(_padded(x, "replicate"), _up_kernel(weight), bias, stride=2, padding=3)


def _padded(x: Tensor, mode: Mode) -> Tensor:
    return _joined(x, mode) if x.is_cuda else F.pad(x, _PAD, mode=mode)


def _joined(x: Tensor, mode: Mode) -> Tensor:
    """``F.pad(x, _PAD, mode=mode)``, of parts of x."""
    for dim in (2, 3):
        near, last = _MIRRORED[mode], x.shape[dim] - 1
        x = torch.cat([x.narrow(dim, near, 1), x, x.narrow(dim, last - near, 1)], dim)
    return x


def _padded_backward(grad: Tensor, x: Tensor, mode: Mode) -> Tensor:
    """The gradient of x from that of ``_padded(x, mode)``."""
    if grad.is_cuda:
        return _folded(grad, mode)
    ops = torch.ops.aten
    backward = ops.reflection_pad2d_backward if mode == "reflect" else ops.replication_pad2d_backward
    return backward(grad, x, _PAD)


def _folded(grad: Tensor, mode: Mode) -> Tensor:
    """The gradient of x from that of ``_joined(x, mode)``: each border's is added to what it shows."""
    for dim in (3, 2):
        near, last = _MIRRORED[mode], grad.shape[dim] - 3
        inner = grad.narrow(dim, 1, last + 1).clone()
        inner.narrow(dim, near, 1).add_(grad.narrow(dim, 0, 1))
        inner.narrow(dim, last - near, 1).add_(grad.narrow(dim, last + 2, 1))
        grad = inner
    return grad


def _up_kernel(weight: Tensor) -> Tensor:
    """(c_out, c_in, 3, 3) -> (c_in, c_out, 4, 4): the taps that fall on one LR pixel, added."""
    taps = _taps(weight)
    return torch.einsum("yk,xl,oikl->ioyx", taps, taps, weight).contiguous(memory_format=torch.channels_last)


def _taps(like: Tensor) -> Tensor:
    """_TAPS as a tensor. A GPU waits for such a copy, and a CUDA graph cannot hold it, so there it is made once."""
    return _kept_taps(like.device, like.dtype) if like.is_cuda else like.new_tensor(_TAPS)


@functools.cache
def _kept_taps(device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # training uses it too
        return torch.tensor(_TAPS, device=device, dtype=dtype)


class _Reflect(torch.autograd.Function):
    """conv2d(reflection_pad(x)) that keeps x, not the padded map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _reflect(x, weight, bias, stride)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), stride = ctx.saved_tensors, ctx.stride
        padded, needed = _padded(x, "reflect"), list(ctx.needs_input_grad[:3])
        dx, dw, db = _convolution_backward(
            needed, grads[0], padded, weight, weight.shape[0], [stride] * 2, [0, 0], False
        )
        if dx is not None:
            dx = _padded_backward(dx, x, "reflect")
        return dx, dw, db, None


class _Up(torch.autograd.Function):
    """conv2d(reflection_pad(nearest x2 of x)) that keeps x, not the map of four times its size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _up(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        padded, kernel, needed = _padded(x, "replicate"), _up_kernel(weight), list(ctx.needs_input_grad[:3])
        dx, dk, db = _convolution_backward(needed, grads[0], padded, kernel, weight.shape[0], [2, 2], [3, 3], True)
        if dx is not None:
            dx = _padded_backward(dx, x, "replicate")
        if dk is not None:
            taps = _taps(dk)
            dk = torch.einsum("yk,xl,ioyx->oikl", taps, taps, dk)
        return dx, dk, db


def _convolution_backward(
    needed: list[bool], grad: Tensor, x: Tensor, weight: Tensor, c_out: int, stride: list[int], padding: list[int],
    up: bool,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    bias = [c_out] if needed[2] else None
    return torch.ops.aten.convolution_backward(grad, x, weight, bias, stride, padding, [1, 1], up, [0, 0], 1, needed)


@torch.no_grad()
def fold_norms(network: nn.Module) -> nn.Module:
    """Fold each BatchNorm that follows a convolution into its weights, in place: for inference only."""
    for layer in network.modules():
        if isinstance(layer, ConvLayer) and layer.norm is not None:
            fused = nn.utils.fusion.fuse_conv_bn_eval(layer.conv.eval(), layer.norm.eval())
            layer.conv, layer.norm = fused, None
    return network
