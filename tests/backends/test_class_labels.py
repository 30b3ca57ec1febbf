"""Classes through every backend: each row of a call is of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddim_app.backends import eager, openvino_backend, openvino_cache, single_row, switch
from ddim_app.models import memory
from ddim_app.models.loading import Model, load
from tests import toys

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(not openvino_backend.is_here(), reason="needs openvino")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(toys.save_tiny(tmp_path_factory.mktemp("models") / "ten", num_class_embeds=10))


def batch(count: int, model: Model) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, *model.shape, generator=generator)
    return x, torch.randint(0, 1000, (count,), generator=generator), torch.arange(count) % 10


def stock(model: Model, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.unet(x, t, y).sample


@pytest.mark.parametrize("rows", [1, 3, 5])
@pytest.mark.parametrize("pinned", [None, 2, 8])
@pytest.mark.parametrize(("fmt", "apart"), [("fp32", 1e-5), ("bf16", 0.1)])
def test_torch_evaluates_each_row_for_its_class(model: Model, rows: int, pinned: int | None, fmt: str, apart: float) -> None:
    x, t, y = batch(rows, model)
    got = eager.predictor(model, CPU, fmt, pinned)(x, t, y)
    torch.testing.assert_close(got, stock(model, x, t, y), rtol=0, atol=apart)
    assert (got - stock(model, x, t, (y + 1) % 10)).abs().max() > 2 * apart


def test_a_lone_row_in_16_bits_keeps_its_class(model: Model) -> None:
    """Also once it has a network of its own."""
    unet = eager.network(model, CPU, "bf16")
    one = single_row.SingleRow(unet, eager.evaluator(unet, CPU))
    with torch.inference_mode():
        for i in range(single_row.PATIENCE + 3 * single_row.COMPARED):
            x, t, y = (each[i % 3 : i % 3 + 1] for each in batch(3, model))
            assert torch.equal(one(x.contiguous(memory_format=torch.channels_last), t, y), one._plain(x, t, y))
            if i == single_row.PATIENCE + single_row.COMPARED:
                single_row.settle()
    assert one.is_ready


@needs_openvino
@pytest.mark.parametrize("fmt", ["fp32", "bf16"])
def test_openvino_evaluates_each_row_for_its_class(model: Model, fmt: str, tmp_path: Path) -> None:
    network = openvino_backend.ConvertedNetwork(model, fmt, openvino_cache.ConversionCache(tmp_path))
    x, t, y = batch(5, model)
    got = network.predictor()(x, t, y)
    apart = 1e-3 if fmt == "fp32" else 0.1
    torch.testing.assert_close(got, stock(model, x, t, y), rtol=0, atol=apart)
    assert (got - stock(model, x, t, (y + 1) % 10)).abs().max() > 2 * apart


def test_measurements_name_no_class(model: Model) -> None:
    predict: Any = eager.predictor(model, CPU, "fp32")
    x, t, _ = batch(3, model)
    assert torch.equal(predict(x, t), predict(x, t, torch.zeros(3, dtype=torch.int64)))
    assert memory.max_rows(predict, model.shape, CPU) >= 1
    assert switch.measure(predict, predict, model, lambda function, *given: function(*given)) > 0
