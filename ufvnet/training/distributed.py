"""BatchNorm over the whole batch when several processes train one network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d with statistics over the maps of all processes; torch's SyncBatchNorm has no CPU kernel.

    Every process must see maps of equal shape.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        from torch.distributed.nn.functional import all_reduce

        world = torch.distributed.get_world_size()
        exact = input.float()  # under autocast the maps come in half precision
        mean = all_reduce(exact.mean((0, 2, 3))) / world
        centred = exact - mean[None, :, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / world
        with torch.no_grad():
            n = world * input.numel() / input.shape[1]
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[None, :, None, None] + self.bias[None, :, None, None]).to(input.dtype)


def synced(network: nn.Module, device: torch.device) -> nn.Module:
    """Replace every BatchNorm2d by one with statistics over all processes: torch's own on GPUs, ours on CPUs."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                norm = SyncedBatchNorm(child.num_features, child.eps, child.momentum or 0.1)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)
    return network
