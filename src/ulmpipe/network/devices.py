"""What a training runs on: a processor, a GPU, or the processes that torchrun has started, one a GPU."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ulmpipe.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


PRECISIONS = ("auto", "bfloat16", "float32")
PROCESSORS = Path("/proc/cpuinfo")


def devices_of(network: nn.Module, precision: str) -> Fabric:
    """Lightning's handle of the device, or of all those that torchrun has started a process for.

    It computes in the precision of `precision_of`.

    Raises
    ------
    InputError
        If more processes are to train than there are GPUs.

    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    device = accelerator()
    mixed: Any = {"bfloat16": "bf16-mixed", "float32": "32-true"}[precision_of(network, precision, device)]
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        # named, since Fabric would look for its place in a SLURM job of several tasks
        alone = LightningEnvironment()
        return Fabric(accelerator=device, devices=1, precision=mixed, plugins=alone)
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if device == "cuda" and here > torch.cuda.device_count():
        raise InputError(
            f"training.processes: {here}; expected at most one for each of the {torch.cuda.device_count()} GPUs"
        )
    fabric = Fabric(
        accelerator=device,
        # statistics of batch normalisation are each process's own, and joined in `ulmpipe.network.training.validate`
        strategy=DDPStrategy(broadcast_buffers=False),
        devices=here,
        num_nodes=everywhere // here,
        precision=mixed,
        plugins=TorchElasticEnvironment(),
    )
    fabric.launch()
    return fabric


def accelerator() -> str:
    """What a training of this process runs on: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision_of(network: nn.Module, wanted: str, device: str) -> str:
    """Precision of a network's convolutions: as wanted, "auto" is bfloat16 where the device multiplies it itself.

    Elsewhere each number becomes a float32 first: on processors without AVX-512 a step takes eight times as long as in
    float32. On a processor networks with 3-D convolutions are float32: they can be trained in nothing else there.

    Parameters
    ----------
    network : nn.Module
        Whose convolutions.
    wanted : str
        "auto", "bfloat16" or "float32".
    device : str
        "cuda" or "cpu".

    Returns
    -------
    str
        "bfloat16" or "float32".

    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = multiplies_bfloat16() and not has_3d_convolutions(network)
    return "bfloat16" if fast else "float32"


def multiplies_bfloat16() -> bool:
    """Whether this processor is an x86 with instructions for products of bfloat16, as Linux says.

    Those with AMX have these too. On ARM nobody has measured which precision is the faster one.
    """
    return "avx512_bf16" in _words(PROCESSORS)


@lru_cache
def _words(path: Path) -> frozenset[str]:
    """Words of a file, read once, since every field that is inferred asks; none of a file that is not there."""
    try:
        return frozenset(path.read_text().split())
    except OSError:
        return frozenset()


def is_first_process() -> bool:
    """Whether this process is the one that writes, of those that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


def sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum over all processes."""
    if fabric.world_size == 1:
        return values
    total = fabric.all_reduce(values.to(fabric.device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total.to(values.device)


def gather(fabric: Fabric, share: Tensor) -> Tensor:
    """The whole batch, of which every process has a share; gradients flow back to it."""
    if fabric.world_size == 1:
        return share
    shares = fabric.all_gather(share, sync_grads=True)
    assert isinstance(shares, Tensor)
    return shares.flatten(0, 1)


def has_3d_convolutions(network: nn.Module) -> bool:
    """Whether any part of a network convolves over three axes."""
    return any(isinstance(module, nn.Conv3d) for module in network.modules())


def lay_out_channels_last(network: nn.Module) -> None:
    """Lay the weights of convolutions out as their fast kernels want them."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
