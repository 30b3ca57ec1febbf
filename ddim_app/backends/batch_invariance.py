"""In which batch sizes a row has the same bits, whatever its place and neighbours."""

from collections.abc import Callable

import torch

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.sampler import Predict


def invariant_buckets(
    predict_in: Callable[[int], Predict], shape: Shape, num_train_timesteps: int, device: torch.device, most: int = 16
) -> list[set[int]]:
    """Groups of buckets in which a row has the same bits, whichever neighbours it has.

    `predict_in(bucket)` is the predictor pinned to a bucket. A bucket in which a row's place or neighbours matter is in no
    group.
    """
    noise = torch.randn(most, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    t = (torch.arange(most, device=device) * 37 + 5) % num_train_timesteps
    groups: dict[bytes, set[int]] = {}
    for bucket in (bucket for bucket in BUCKETS if bucket <= most):
        predict = predict_in(bucket)
        among = predict(noise[:bucket], t[:bucket])
        # Where threads divide a batch: its ends and its middle.
        places = {0, max(bucket // 2 - 1, 0), bucket // 2, bucket - 1}
        if all(torch.equal(predict(noise[i : i + 1], t[i : i + 1])[0], among[i]) for i in places):
            groups.setdefault(among[: BUCKETS[0]].cpu().numpy().tobytes(), set()).add(bucket)
    return list(groups.values())
