"""The API asked what no page would ask: by its own description, nothing leads to an error of the server."""

from __future__ import annotations

import shutil

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from tests.viewer.test_attacks import AUTHORISED, PORT, TOKEN

from tumorspread.viewer.app import make_app
from tumorspread.viewer.guard import Access
from tumorspread.viewer.jobs import Jobs
from tumorspread.viewer.shelf import Shelf

OPERATIONS = 15


def make_nothing(folder, name, tell):
    """Stands in for the analysis, which has tests of its own."""


@pytest.fixture(scope="module")
def schema(first_result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    shutil.copytree(first_result / "result", folder / "result")
    shelf = Shelf()
    shelf.add(folder / "result")
    jobs = Jobs(folder / "uploads", lambda found: shelf.add(found).id, make_nothing)
    app = make_app(shelf, jobs, Access(PORT, TOKEN))
    yield schemathesis.openapi.from_asgi("/openapi.json", app, headers=AUTHORISED)
    jobs.close()
    shelf.close()


def ask(schema, mode, examples):
    """Ask every operation so many times; the statuses that came back, by operation."""
    operations = [one.ok() for one in schema.get_all_operations()]
    return {operation.label: ask_one(operation, mode, examples) for operation in operations}


def ask_one(operation, mode, examples):
    statuses = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def try_it(case):
        # The case that is there: behind another name all is 404.
        if "case" in case.path_parameters:
            case.path_parameters["case"] = "result"
        answer = case.call(headers=AUTHORISED)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        statuses.add(answer.status_code)

    try_it()
    return statuses


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_leads_to_an_error_of_the_server(schema, mode):
    found = ask(schema, mode, 8)
    assert len(found) >= OPERATIONS
    assert any(200 in statuses for statuses in found.values())


@pytest.mark.slow
@pytest.mark.viewer
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_of_a_thousand_leads_to_an_error_of_the_server(schema, mode):
    assert len(ask(schema, mode, 100)) >= OPERATIONS
