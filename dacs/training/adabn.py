"""AdaBN (Li et al., 2016): BatchNorm statistics re-estimated on the target; no weight is trained."""

from safetensors.torch import load_file

from dacs.files import write_text
from dacs.layout import RunDir
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.device import describe, device_for, set_numerics
from dacs.models.statistics import re_estimate
from dacs.training.checkpoint import write_weights
from dacs.training.run import Run


def adabn(folder: RunDir, run: Run, key: str) -> str:
    """Write student and teacher of the source-only run with new statistics in `folder`; return the name of the device.

    The statistics are means over `adabn.frames` unlabelled training images of the target, evenly spread and whole;
    frozen ones are replaced too. Of a network without BatchNorm the weights stay as they are, and log.csv says so.
    """
    loop, settings = run.settings.loop, run.settings.adabn
    assert settings is not None
    assert run.init is not None
    device = device_for(loop.device)
    set_numerics(threads=loop.threads, deterministic=loop.deterministic, precision=loop.precision)
    images, found = Split(run.target).spread_images(settings.frames), 0
    for source, out in ((run.init.weights, folder.weights), (run.init.teacher, folder.teacher)):
        network = build(run.settings.model, classes=len(run.settings.label_set.classes))
        network.load_state_dict(load_file(source))
        found = re_estimate(network.to(device).eval(), images)
        write_weights(out, network)
    write_text(folder.log, f"step,images,layers\n0,{len(images) if found else 0},{found}\n")
    return describe(device)
