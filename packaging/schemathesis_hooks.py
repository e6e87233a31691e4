"""What schemathesis must be told about jobslate: bodies of lines, and why a call was refused."""

import datetime
import json
import re

import schemathesis
from hypothesis import strategies
from schemathesis.core.parameters import ParameterLocation

LINES = "application/x-ndjson"

# Refusals of calls that the document calls valid: they depend on what the store holds, or on two
# parameters together.
BY_STATE = {
    "ack_must_be_durable",
    "bad_cursor",
    "check_running",
    "idempotency_key_reused",
    "status_conflict",
    "unknown_job",
}
# The same for the updates of a call; all of one that is `atomic` fall with the first.
UPDATE_BY_STATE = {"atomic_neighbour", "status_conflict", "unknown_job"}
# JSON Schema counts characters, and the bounds of names are bytes of UTF-8.
TOO_MANY_BYTES = re.compile(r" is \d+ bytes, the most is \d+$")


# JSON Schema knows no bounds of times; the description of `at` says 1970 up to 2200.
TIMES = strategies.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2199, 12, 30))
schemathesis.openapi.format("date-time", TIMES.map(lambda time: time.isoformat() + "Z"))


@schemathesis.serializer(LINES)
def lines(ctx, value):
    """The document describes lines as an array; anything else is no update on any line."""
    values = value if isinstance(value, list) else [[value]]
    return "\n".join(json.dumps(line) for line in values).encode()


@schemathesis.deserializer(LINES)
def read_lines(ctx, response):
    return [json.loads(line) for line in response.content.splitlines() if line]


@schemathesis.check
def refusals_depend_on_the_state(ctx, response, case):
    """A valid call is refused for no other reason than the present state."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code < 400:
        return
    problem = response.json()
    is_many = problem["code"] == "all_rejected"
    reasons, known = (problem["errors"], UPDATE_BY_STATE) if is_many else ([problem], BY_STATE)
    for reason in reasons:
        is_known = reason["code"] in known or TOO_MANY_BYTES.search(reason["detail"])
        assert is_known, f"a valid call was refused: {reason}"


@schemathesis.check
def bad_updates_are_counted(ctx, response, case):
    """A body with bad updates is accepted only without them."""
    if case.meta is None or case.operation.label != "POST /v1/updates":
        return
    meta = case.meta
    if not meta.generation.mode.is_negative or response.status_code not in (200, 202):
        return
    elsewhere = [place for place in meta.components
                 if place != ParameterLocation.BODY and meta.is_negative_at(place)]
    assert not elsewhere, f"invalid {elsewhere} were accepted"
    assert response.json()["rejected"] > 0, "a bad update was accepted"
