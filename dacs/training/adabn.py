"""AdaBN (Li et al., 2016): BatchNorm statistics re-estimated on the target; no weight is trained."""

import torch
from safetensors.torch import load_file
from torch import nn

from dacs.files import write_text
from dacs.layout import RunDir
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.device import describe, device_for, set_numerics
from dacs.models.segmenter import Segmenter
from dacs.training.loop import write_weights
from dacs.training.run import Run

BATCH = 8  # images at a time; a mean over batches of one size is the mean over all images


def re_estimate(folder: RunDir, run: Run, key: str) -> str:
    """Write student and teacher of the source-only run with new statistics in `folder`; return the name of the device.

    The statistics are means over `adabn.frames` unlabelled training images of the target, evenly spread and whole;
    frozen ones are replaced too. Of a network without BatchNorm the weights stay as they are, and log.csv says so.
    """
    loop, settings = run.settings.loop, run.settings.adabn
    assert settings is not None
    assert run.init is not None
    device = device_for(loop.device)
    set_numerics(threads=loop.threads, deterministic=loop.deterministic, precision=loop.precision)
    split = Split(run.target.train)
    chosen = split.spread(settings.frames)
    images = torch.stack([split.image(i) for i in chosen])
    found = 0
    for source, out in ((run.init.weights, folder.weights), (run.init.teacher, folder.teacher)):
        network = build(run.settings.model)
        network.load_state_dict(load_file(source))
        found = with_statistics_of(network.to(device), images)
        write_weights(out, network)
    write_text(folder.log, f"step,images,layers\n0,{len(chosen) if found else 0},{found}\n")
    return describe(device)


def with_statistics_of(network: Segmenter, images: torch.Tensor) -> int:
    """Re-estimate every BatchNorm's statistics on `images`, uint8 of shape (number, 3, height, width); count them."""
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a mean over all batches instead of a moving average
        layer.train()
    with torch.no_grad():
        for some in images.split(BATCH) if layers else ():
            network(some.to(network.mean.device).float() / 255)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()
    return len(layers)
