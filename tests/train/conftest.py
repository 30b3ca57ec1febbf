"""One interpreter, in whose forked children the tests of this folder run the command."""

from collections.abc import Iterator

import pytest

from tests.train_tools import Worker


@pytest.fixture(scope="package")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()
