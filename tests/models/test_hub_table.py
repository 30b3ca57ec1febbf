"""Every row of the table of models that users name comes out as it should."""

import pytest

from tests.models.hub_table import ROWS, Row, fresh, is_as_expected, outcome


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.kind}")
def test_a_model_that_users_name(row: Row, tmp_path):
    with fresh(tmp_path) as (hub, patch):
        got = outcome(row, hub, patch, tmp_path)
    assert is_as_expected(row, got), got
    assert "\n" not in got
