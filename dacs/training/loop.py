"""The loop: source-only training, and DACS and its kin as Algorithm 1 of Tranheden et al. (2021) reads."""

import csv
import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as packed
from torch import Tensor

from dacs.adaptation.mixing import strategies
from dacs.adaptation.teacher import Teacher
from dacs.errors import Interrupted, RunFailed
from dacs.files import write_bytes, write_text
from dacs.loading.split import Split
from dacs.loading.splits import measured
from dacs.loading.stream import Batch, batches, seed_of
from dacs.models.build import from_settings
from dacs.models.published import NONE
from dacs.models.weights import file_of, load_backbone
from dacs.training import checkpoint
from dacs.training.checkpoint import State
from dacs.training.mix_example import save_mixing
from dacs.training.monitor import Monitor
from dacs.training.objectives import Losses, Networks, adaptation, computing_in, supervised
from dacs.training.progress import Progress, stop_signals
from dacs.training.schedule import optimizer_for, rate, set_rate
from dacs.types import Images, Logits

COLUMNS = (
    "step",
    "loss_source",
    "loss_mixed",
    "lambda",
    "lr",
    "pseudo_accuracy",
    "confident_accuracy",
    "confident_share",
)
Step = Callable[[State], Losses]


def train_run(folder: Path, card: dict[str, Any], *, source: Path, target: Path, init: Path | None) -> str:
    """Train the run that `card` describes in `folder`, from its checkpoint if there is one.

    Leaves weights.safetensors, teacher.safetensors, log.csv and for adaptation mixing/, and gives the name of what it
    was trained on. Raises Interrupted on SIGINT or SIGTERM after saving a checkpoint, RunFailed when a loss is not
    finite.
    """
    settings, seed, key = card["settings"], card["seed"], card["key"]
    loop, part = settings["loop"], settings.get("adapt") or settings["train"]
    device = device_for(loop["device"], loop["threads"], loop["deterministic"])
    state = _start(settings, part, seed, init, device)
    path = folder / "checkpoint.pt"
    if path.exists():
        checkpoint.restore(state, path, key)
    monitor = Monitor(measured(target), frames=loop["monitor_frames"], threshold=part.get("threshold", 0.968))
    make = _adaptation if "adapt" in settings else _source_only
    step = make(state, card, source=source, target=target / "train", device=device, panels=folder / "mixing")
    progress = Progress(state.step, part["steps"], images=loop["batch"] * (2 if "adapt" in settings else 1))
    with stop_signals() as stopped:
        while state.step < part["steps"]:
            set_rate(
                state.optimizer,
                rate(state.step, steps=part["steps"], power=loop["poly_power"], warmup=loop["warmup"]),
            )
            state.optimizer.zero_grad()
            with _in_words(state.step + 1):
                state.pending.append(step(state))
            state.optimizer.step()
            state.teacher.follow(state.student, state.step)
            state.step += 1

            last = state.step == part["steps"]
            if last or _due(state.step, loop["log_every"]):
                row = _row(state, path)
                if last or _due(state.step, loop["monitor_every"]):
                    row |= monitor.measure(state.teacher.network, device)
                state.rows.append(row)
                state.pending = []
                progress.show(row)
            halt = stopped()
            if halt or (_due(state.step, loop["checkpoint_every"]) and not last):
                _refuse_infinite(state, path)
                checkpoint.save(state, path, key)
            if halt and not last:
                raise Interrupted(
                    f"stopped at step {state.step} of {part['steps']}; {path} keeps it.\n"
                    "Run the same command again to go on from there."
                )
    progress.close()
    write_text(folder / "log.csv", _csv(state.rows))
    _save_weights(state.student.state_dict(), folder / "weights.safetensors")
    _save_weights(state.teacher.network.state_dict(), folder / "teacher.safetensors")
    return _described(device)


def _start(settings: dict[str, Any], part: dict[str, Any], seed: int, init: Path | None, device: torch.device) -> State:
    """A run before its first step."""
    loop, model = settings["loop"], settings["model"]
    student = from_settings(model, seed_of(seed, "weights"))
    if init is not None:
        student.load_state_dict(load_file(init / "weights.safetensors"))
    elif model["weights"] != NONE:
        path = file_of(model["weights"], model["network"], Path(model["weights_folder"]))
        load_backbone(student.backbone, path, convention=model["convention"])
    student.to(device).train()
    # A teacher that keeps nothing of itself is the student before this step: the paper's reading.
    ema = 0.0 if part.get("pseudo_labels") == "student" else part["ema"]
    teacher = Teacher(student, ema=ema, batch_norm=part.get("teacher_bn", "running"))
    optimizer = optimizer_for(
        student,
        kind=loop["optimizer"],
        lr=part["lr"],
        backbone_lr_factor=loop["backbone_lr_factor"],
        head_lr_factor=loop["head_lr_factor"],
        weight_decay=loop["weight_decay"],
        momentum=loop["momentum"],
        nesterov=loop["nesterov"],
    )
    return State(student, teacher, optimizer)


def _source_only(
    state: State, card: dict[str, Any], *, source: Path, target: Path, device: torch.device, panels: Path
) -> Step:
    """Source-only training: cross-entropy on labelled frames."""
    loop = card["settings"]["loop"]
    networks = networks_of(state, loop, device)
    frames = _frames("source", source, card, state.step)

    def step(state: State) -> Losses:
        parts = []
        for _ in range(loop["accumulate"]):
            image, truth = _to(next(frames), device)
            parts.append(supervised(networks, image, truth, share=1 / loop["accumulate"]))
        return _together(parts)

    return step


def _adaptation(
    state: State, card: dict[str, Any], *, source: Path, target: Path, device: torch.device, panels: Path
) -> Step:
    """DACS and its kin: the same, and cross-entropy on mixed frames whose labels are partly the teacher's."""
    adapt, loop = card["settings"]["adapt"], card["settings"]["loop"]
    networks = networks_of(state, loop, device)
    strategy = strategies(
        draw_void=adapt["draw_void"], cow_sigma=tuple(adapt["cow_sigma"]), cow_share=adapt["cow_share"]
    )[card["method"]]
    sources = _frames("source", source, card, state.step)
    targets = _frames("target", target, card, state.step)

    def step(state: State) -> Losses:
        parts = []
        for part in range(loop["accumulate"]):
            number = state.step * loop["accumulate"] + part
            generator = torch.Generator().manual_seed(seed_of(card["seed"], "mix", number))
            image, truth = _to(next(sources), device)
            pixels = _to(next(targets), device)[0]
            losses, seen = adaptation(
                networks,
                image,
                truth,
                pixels,
                generator,
                strategy=strategy,
                adapt=adapt,
                share=1 / loop["accumulate"],
            )
            parts.append(losses)
        if state.step + 1 == adapt["steps"]:
            save_mixing(panels, *seen)
        return _together(parts)

    return step


def networks_of(state: State, loop: dict[str, Any], device: torch.device) -> Networks:
    """Student and teacher as the step calls them; the compiled ones share the weights of those that are kept."""
    set_numbers(loop["precision"])
    called: list[Callable[[Images], Logits]] = []
    for network in (state.student, state.teacher.network):
        if loop["channels_last"]:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        called.append(computing_in(loop["precision"], torch.compile(network) if loop["compile"] else network))
    return Networks(*called)


def set_numbers(precision: str) -> None:
    """Let a GPU compute float32 convolutions and products in 19 bits (tf32), or not."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def _together(parts: list[Losses]) -> Losses:
    """Sums over the batches of a step, each of which brought its share."""
    return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}


def _frames(role: str, folder: Path, card: dict[str, Any], start: int) -> Iterator[Batch]:
    """The endless stream of crops of a prepared split, from step `start` on; the same wherever the folder lies."""
    loop = card["settings"]["loop"]
    return batches(
        Split(folder),
        seed=seed_of(card["seed"], role),
        batch=loop["batch"],
        crop=tuple(loop["crop"]),
        start_step=start * loop["accumulate"],
        flip=loop["flip"],
        workers=loop["workers"],
    )


def _to(batch: Batch, device: torch.device) -> Any:
    return tuple(part if part is None else part.to(device, non_blocking=True) for part in batch)


def _row(state: State, path: Path) -> dict[str, Any]:
    """A row of log.csv: means over the steps since the last one."""
    _refuse_infinite(state, path)
    pending = state.pending
    means = {name: round(torch.stack([losses[name] for losses in pending]).mean().item(), 5) for name in pending[0]}
    return {"step": state.step, **means, "lr": round(state.optimizer.param_groups[0]["lr"], 8)}


def _refuse_infinite(state: State, path: Path) -> None:
    """Stop at the first loss that is not finite, or at weights that are not, before anything keeps them.

    Asked only when a row or a checkpoint is due, to spare the GPU.
    """
    found = [
        f"{name} is {value} at step {step}"
        for step, losses in enumerate(state.pending, state.step - len(state.pending) + 1)
        for name, value in zip(losses, torch.stack(list(losses.values())).tolist(), strict=True)
        if not math.isfinite(value)
    ]
    if not all(weight.isfinite().all() for weight in state.student.parameters()):
        found.append(f"weights are not finite after step {state.step}")
    if found:
        kept = f"{path} keeps the last good state" if path.exists() else "No checkpoint was written yet"
        raise RunFailed(
            f"{found[0]}; training stopped.\n{kept}. Lower the learning rate in params.yaml, then run again."
        )


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _save_weights(weights: dict[str, Tensor], path: Path) -> None:
    write_bytes(path, packed({name: value.cpu().contiguous() for name, value in weights.items()}))


@contextmanager
def _in_words(step: int) -> Iterator[None]:
    """What a GPU cannot do, and what to do about it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"The memory of the GPU does not hold step {step} ({str(error).splitlines()[0]}).\n"
            "In params.yaml set loop.precision: bf16, half of loop.batch with twice loop.accumulate, or a smaller crop."
        ) from error
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise RunFailed(
            f"loop.deterministic is true, but {str(error).splitlines()[0]}\n"
            "Set it to false in params.yaml; then two runs may differ in rounding."
        ) from error


def device_for(name: str, threads: int, deterministic: bool) -> torch.device:
    """The device to run on, set so that the same run gives the same bytes there, if that is asked for."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RunFailed(
            "loop.device is 'cuda', but torch finds no GPU here.\nSet it to 'auto' or 'cpu' in params.yaml."
        )
    if threads:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else a GPU's matrix products have no fixed order
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads it here
    torch.backends.cudnn.benchmark = not deterministic  # crops are of one size: time the ways to convolve them once
    return torch.device(name)


def _described(device: torch.device) -> str:
    """A GPU's name, or the widest instructions of the CPU: another rounds otherwise."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.backends.cpu.get_cpu_capability()}"


def _due(step: int, every: int) -> bool:
    return step % every == 0
