"""Lone rows on a CPU: a network of their own, once it has the bits of the plain one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddim_app.backends import eager, single_row
from ddim_app.models.loading import Model, load

CPU = torch.device("cpu")
MANY = single_row.PATIENCE + 3 * single_row.COMPARED


@pytest.fixture(scope="module")
def model(tiny_root: Path) -> Model:
    return load(tiny_root / "tiny")


def rows(count: int, shape: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    made = [(torch.randn(1, *shape, generator=generator), torch.randint(0, 1000, (1,), generator=generator)) for _ in range(count)]
    return [(x.contiguous(memory_format=torch.channels_last), t) for x, t in made]


def asked(one: single_row.SingleRow, shape: tuple[int, ...], count: int) -> list[bool]:
    """Whether each of so many lone rows came out as among two; what is made on the way is waited for."""
    equal = []
    with torch.inference_mode():
        for i, (x, t) in enumerate(rows(count, shape)):
            equal.append(torch.equal(one(x, t), one._plain(x, t)))
            if i == single_row.PATIENCE + single_row.COMPARED:
                single_row.settle()
    return equal


def made(model: Model, fmt: str = "bf16") -> single_row.SingleRow:
    unet = eager.network(model, CPU, fmt)
    return single_row.SingleRow(unet, eager.evaluator(unet, CPU), is_paired=fmt == "bf16")


@pytest.mark.parametrize("fmt", ["bf16", "fp32"])
def test_lone_rows_get_a_network_of_their_own_with_the_bits_of_the_plain_one(model: Model, fmt: str) -> None:
    one = made(model, fmt)
    assert all(asked(one, model.shape, MANY))
    assert one.is_ready
    assert all(asked(one, model.shape, 20))


def test_the_odd_layers_are_those_that_round_otherwise_alone() -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + float(len(x) == 1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.even, self.odd = nn.Conv2d(3, 3, 1), Odd(4, 4)

        def forward(self, x: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
            return (self.odd(self.even(x)),)

    net, odd = Net().eval(), set[str]()
    x, t = torch.randn(1, 3, 4, 4), torch.tensor([5])
    with torch.inference_mode():
        pair = single_row._in_pair(single_row.watched(net, odd), x, t)
        assert odd == {"odd"}
        assert torch.allclose(single_row.network(net, odd, x, t)(x, t), pair, atol=1e-5)
        assert torch.allclose(single_row.network(net, set(), x, t)(x, t), pair + 1, atol=1e-5)


@pytest.mark.parametrize(
    "broken",
    [lambda *given: lambda x, t: x + 1, lambda *given: 1 / 0, lambda *given: lambda x, t: 1 / 0],
    ids=["bits", "making", "running"],
)
def test_a_network_that_has_other_bits_or_cannot_be_made_never_serves(
    model: Model, monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Any]
) -> None:
    monkeypatch.setattr(single_row, "network", broken)
    one = made(model)
    assert all(asked(one, model.shape, MANY))
    assert not one.is_ready


@pytest.mark.parametrize(("fmt", "smallest"), [("bf16", 2), ("fp32", 1)])
def test_a_predictor_gives_lone_rows_the_bits_of_the_pinned_bucket_before_and_after(model: Model, fmt: str, smallest: int) -> None:
    predict, unet = eager.predictor(model, CPU, fmt), eager.network(model, CPU, fmt)
    pinned = eager.in_buckets(eager.evaluator(unet, CPU), CPU, smallest)
    for i, (x, t) in enumerate(rows(MANY, model.shape)):
        assert torch.equal(predict(x, t), pinned(torch.cat((x, x))[:smallest], torch.cat((t, t))[:smallest])[:1])
        if i == single_row.PATIENCE + single_row.COMPARED:
            single_row.settle()
