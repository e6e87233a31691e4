"""The package knows every code and every field of the API document, and no other."""

from __future__ import annotations

import copy
import json
import pickle
import typing
from dataclasses import fields
from typing import Any

import pytest

import jobslate
from jobslate import errors, model, stats
from jobslate.problems import PROBLEMS, Problem, problem_of
from jobslate.update import FIELDS

from .server import ROOT

API: dict[str, Any] = json.loads((ROOT / "tests/data/openapi.json").read_text())
SCHEMAS: dict[str, Any] = API["components"]["schemas"]


def test_every_problem_code_has_an_exception_named_after_it() -> None:
    assert sorted(PROBLEMS) == sorted(SCHEMAS["ProblemName"]["enum"])
    assert set(SCHEMAS["RejectionName"]["enum"]) <= set(PROBLEMS)
    for code, kind in PROBLEMS.items():
        assert kind.__name__ == code.title().replace("_", "")


def test_statuses_are_those_that_the_document_promises() -> None:
    promised = {
        int(status)
        for path in API["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
    }
    # A call with a wrong method is no operation, so the document has no place for its answer.
    assert {kind.status for kind in PROBLEMS.values()} <= promised | {405}


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (model.Job, "Job"),
        (model.Transition, "Transition"),
        (model.Rejection, "Rejection"),
        (model.Counts, "Counts"),
        (model.PipelineCounts, "PipelineCounts"),
        (model.Lookup, "Lookup"),
        (model.FeedEntry, "FeedEntry"),
    ],
)
def test_values_have_the_fields_of_the_document(kind: Any, schema: str) -> None:
    assert {it.name for it in fields(kind)} == set(SCHEMAS[schema]["properties"])
    for example in SCHEMAS[schema]["examples"]:
        if schema != "PipelineCounts":
            value = kind.of(example)
            assert pickle.loads(pickle.dumps(value)) == value


def test_answers_have_the_fields_of_the_document() -> None:
    ours = {it.name for it in fields(model.Answer)} - {"replayed"}
    assert ours == set(SCHEMAS["Answer"]["properties"])
    example = model.Answer.of(SCHEMAS["Answer"]["examples"][0])
    assert (example.accepted, example.errors[1].code) == (998, "unknown_job")
    assert model.Answer.of(SCHEMAS["Queued"]["examples"][0]).durable is False


def test_updates_have_the_fields_of_the_document() -> None:
    # `error_message` is another name of `error`.
    assert {*FIELDS, "error_message"} == set(SCHEMAS["Update"]["properties"])


def test_stats_have_the_fields_of_the_document() -> None:
    for name, kind in vars(stats).items():
        if name.endswith("Stats") and name in SCHEMAS:
            assert set(typing.cast("Any", kind).__annotations__) == set(
                SCHEMAS[name]["properties"]
            ), name


def test_an_unknown_code_is_a_plain_problem() -> None:
    problem = problem_of(418, {"code": "teapot", "detail": "short and stout", "retryable": True})
    assert type(problem) is Problem
    assert (problem.code, problem.status, problem.retryable) == ("teapot", 418, True)
    assert str(problem) == "short and stout (teapot)"


def test_errors_survive_the_way_to_another_process() -> None:
    gone = problem_of(410, SCHEMAS["Problem"]["examples"][1])
    assert isinstance(gone, jobslate.Gone)
    full = problem_of(429, SCHEMAS["Problem"]["examples"][0], retry_after_s=2.0, replayed=True)
    others = [errors.Foreign("who?", 502, "unknown"), errors.Unavailable("gone", "not_applied")]
    for error in [gone, full, *others]:
        for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(copied) is type(error)
            assert copied.__dict__ == error.__dict__
    assert pickle.loads(pickle.dumps(gone)).first_seq_held == 500
    assert pickle.loads(pickle.dumps(full)).outcome == "not_applied"
