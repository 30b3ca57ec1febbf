"""What the tests of the batch loop share: both ways in which its steps reach their readers."""

import pytest

from ddim_app.backends import host_copy


@pytest.fixture(params=["at once", "on their way"])
def copies(request, monkeypatch):
    """Steps are told at once, as on a CPU, or when the next call has begun, as with pictures that come from a GPU.

    Gives how many calls may follow the one that a step comes from before it is told.
    """
    if request.param == "on their way":
        monkeypatch.setattr(host_copy, "begin", lambda tensors: lambda: [tensor.clone() for tensor in tensors])
        return (0, 1)
    return (0,)
