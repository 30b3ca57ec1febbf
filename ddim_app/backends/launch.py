"""How this process was started beside others: by torchrun, MPI, Slurm or `accelerate launch`, and which GPU is its own."""

import os

import torch

SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def processes_asked_for() -> int:
    """How many processes the launcher of this one was to start: torchrun, MPI, Slurm's srun, or `accelerate launch`."""
    for name in SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    # On CPUs Accelerate's launcher names a place to meet when several are asked for, but starts one, and says nothing of a number.
    return 2 if {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= set(os.environ) else 1


def can_meet() -> bool:
    """Whether the launcher told this process its rank and where the others are."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)


def take_own_gpu() -> None:
    """Leaves the GPU of this process's local rank as the only one in sight; to be called before anything touches a GPU.

    With fewer GPUs than processes on the machine they are shared. One GPU in sight means that nothing else needs to know of ranks.
    """
    local = os.environ.get("LOCAL_RANK", "")
    count = torch.cuda.device_count() if local.isdigit() else 0
    if count > 1:
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        visible = given.split(",") if given else [str(i) for i in range(count)]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(local) % len(visible)]
