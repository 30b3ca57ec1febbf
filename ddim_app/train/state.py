"""What a run must remember to go on exactly, and its checkpoints: one safetensors file each, no pickle.

A checkpoint is written beside, flushed, and renamed in one step, so a file of its name is whole. A digest of the content is
inside, so a damaged one is noticed, named, and passed over for the one before.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ddim_app.media.files import remove_partial, write_tensors
from ddim_app.train.config import TrainError

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class TrainingState:
    """The run after `step` optimiser steps. Nothing else of a run survives from one step to the next."""

    network: nn.Module
    averages: dict[str, nn.Module]
    """Averaged weights by the names of loop.EMA_LENGTHS."""
    optimizer: torch.optim.Optimizer
    scaler: Any = None
    """The gradient scaler of fp16."""
    step: int = 0
    spent: float = 0.0
    """Seconds that the run has taken, where it ends by the clock."""

    @property
    def average(self) -> nn.Module:
        """The one that is published."""
        return self.averages[""]

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averaged weights and AdamW's moments by name, contiguous on the CPU."""
        named = {}
        for name, parameter in self.network.named_parameters():
            named["weights." + name] = parameter.detach()
            moments = self.optimizer.state.get(parameter, {})
            named |= {f"{moment}.{name}": moments[moment] for moment in MOMENTS if moment in moments}
        for kind, average in self.averages.items():
            named |= {average_key(kind) + name: parameter.detach() for name, parameter in average.named_parameters()}
        # clone: what one storage holds twice cannot be stored as safetensors
        return {name: tensor.to("cpu", torch.float32).contiguous().clone() for name, tensor in sorted(named.items())}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Takes over what `tensors` returned; raises KeyError or RuntimeError when they are another network's."""
        self.optimizer.state.clear()
        with torch.no_grad():
            for kind, average in self.averages.items():
                for name, parameter in average.named_parameters():
                    parameter.copy_(tensors[average_key(kind) + name])
            for name, parameter in self.network.named_parameters():
                parameter.copy_(tensors["weights." + name])
                if facts["updates"]:
                    moments = {moment: torch.empty_like(parameter).copy_(tensors[f"{moment}.{name}"]) for moment in MOMENTS}
                    device = parameter.device if self.optimizer.param_groups[0].get("fused") else torch.device("cpu")
                    self.optimizer.state[parameter] = {"step": torch.tensor(float(facts["updates"]), device=device), **moments}
        if self.scaler is not None and facts.get("scaler"):
            self.scaler.load_state_dict(facts["scaler"])
        self.step, self.spent = facts["step"], facts.get("spent", 0.0)

    def facts(self) -> dict[str, Any]:
        updates = [int(moments["step"]) for moments in self.optimizer.state.values()]
        return {
            "step": self.step,
            "spent": self.spent,
            "updates": updates[0] if updates else 0,  # fewer than steps where fp16 has skipped some
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
        }


def average_key(kind: str) -> str:
    """What the names of an average's tensors begin with in a checkpoint."""
    return f"ema-{kind}." if kind else "ema."


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names and values: equal for two states exactly when they are bit-identical."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].numpy().data.cast("B"))
    return total.hexdigest()


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def last_good(folder: Path) -> str:
    """The newest checkpoint of a run, in words."""
    usable = checkpoints(folder)
    return f"the last good checkpoint is {usable[-1]}" if usable else "there is no checkpoint yet"


def save(folder: Path, tensors: dict[str, Tensor], facts: Mapping[str, Any], keep: int) -> Path:
    """Writes a checkpoint of what a state's `tensors` and `facts` returned, and removes all but the last `keep`; raises OSError."""
    path = folder / f"step-{facts['step']:09d}.safetensors"
    metadata = {"facts": json.dumps(facts), "digest": digest(tensors)}
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, metadata)
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_last(folder: Path, state: TrainingState, tell: Callable[[str], None]) -> Path | None:
    """Restores the newest usable checkpoint and returns its path; None when there is none. Damaged ones are told and skipped."""
    if folder.is_dir():
        remove_partial(folder)
    for path in reversed(checkpoints(folder)):
        try:
            tensors, facts = read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            tell(f"{path} is damaged ({str(error)[:100]}) and is not used")
            continue
        try:
            state.restore(tensors, facts)
        except (KeyError, RuntimeError) as error:
            raise TrainError(
                f"{path} belongs to a network of another architecture: use the --init or --preset that the run was begun with, "
                "or another --output"
            ) from error
        return path
    return None


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, facts) of a checkpoint; raises ValueError when its content does not have its digest."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    if digest(tensors) != metadata["digest"]:
        raise ValueError("its content has changed since it was written")
    return tensors, json.loads(metadata["facts"])
