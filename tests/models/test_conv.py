"""The fast convolution against the plain modules that define it: values, gradients, and folded norms."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchmarks.plain import layer, plain
from ufvnet.models import PRESETS, create
from ufvnet.models.conv import _PAD, _TAPS, ConvLayer, Mode, _folded, _joined, _kept_taps, fold_norms


def _pair(scale: str, norm: bool, act: bool) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours, theirs = ConvLayer(5, 7, scale, norm=norm, act=act), layer(5, 7, scale, norm, act)  # type: ignore[arg-type]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    return ours.double(), theirs.double()


@pytest.mark.parametrize("side", [(4, 4), (6, 10), (2, 2)])
@pytest.mark.parametrize(("norm", "act"), [(False, False), (True, True), (True, False)])
@pytest.mark.parametrize("scale", ["same", "down", "up"])
def test_values_and_gradients_are_those_of_the_plain_modules(
    scale: str, norm: bool, act: bool, side: tuple[int, int]
) -> None:
    ours, theirs = _pair(scale, norm, act)
    x = torch.randn(3, 5, *side, dtype=torch.float64)
    results = []
    for network in (ours, theirs):
        given = x.clone().requires_grad_()
        out = network(given)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        results.append([out.detach(), given.grad, *(p.grad for p in network.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", ["same", "down", "up"])
def test_the_gradient_is_the_numerical_one(scale: str) -> None:
    network = ConvLayer(2, 3, scale).double()  # type: ignore[arg-type]
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (x,))


@pytest.mark.parametrize("name", ["onesrg", "ufvnet"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_networks_equal_the_plain_ones_in_training_and_evaluation(name: str, channels_last: bool) -> None:
    torch.manual_seed(0)
    ours = create(name, "tiny", 64)
    theirs = plain(name, PRESETS["tiny"], 64, ours)
    x = torch.rand(4, 3, 64, 64) * 2 - 1
    given = x
    if channels_last:
        ours = ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        given = x.contiguous(memory_format=torch.channels_last)
    for network in (ours, theirs):
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    for train in (True, False):
        ours.train(train)
        theirs.train(train)
        assert (_image(ours(given)) - _image(theirs(x))).abs().max() < 1e-4


def _image(output: object) -> Tensor:
    return output if isinstance(output, Tensor) else output.sr  # type: ignore[attr-defined, no-any-return]


def test_folded_norms_change_no_output_and_leave_no_norm_after_a_convolution() -> None:
    torch.manual_seed(0)
    network = create("ufvnet", "tiny", 64)
    for _ in range(2):  # running statistics that are not the first ones
        network(torch.rand(4, 3, 64, 64))
    network.eval()
    folded = fold_norms(copy.deepcopy(network))
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert (folded(x).sr - network(x).sr).abs().max() < 1e-5
    assert not any(m.norm is not None for m in folded.modules() if isinstance(m, ConvLayer))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) > 0  # those before a FAU stay


@pytest.mark.parametrize("scale", ["same", "up"])
def test_half_precision_trains_too(scale: str) -> None:
    network = ConvLayer(3, 4, scale, norm=True, act=True)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        out = network(torch.rand(2, 3, 8, 8, requires_grad=True))
    out.float().sum().backward()
    assert network.conv.weight.grad is not None
    assert network.conv.weight.grad.dtype == torch.float32


def test_taps_that_a_gpu_keeps_may_be_made_in_inference_and_used_in_training() -> None:
    with torch.inference_mode():
        taps = _kept_taps(torch.device("cpu"), torch.float32)
    assert torch.equal(taps, torch.ones(()).new_tensor(_TAPS))
    (taps * torch.ones(4, 3, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("side", [(4, 4), (3, 7), (2, 2)])
@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_a_gpu_s_way_to_pad_is_pytorch_s_and_keeps_channels_last(mode: Mode, side: tuple[int, int]) -> None:
    x = torch.randn(2, 5, *side, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = nn.functional.pad(x, _PAD, mode=mode)
    given = _joined(x, mode)
    assert torch.equal(given, expected)
    assert given.is_contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(expected)
    expected.backward(grad)
    torch.testing.assert_close(_folded(grad, mode), x.grad)
