"""What schemathesis must be told about jobslate: lines, endless answers, and why a call was refused."""

import csv
import datetime
import io
import itertools
import json
import re
import zlib

import schemathesis
from hypothesis import strategies
from schemathesis.core.parameters import ParameterLocation
from urllib3.exceptions import ReadTimeoutError

LINES = "application/x-ndjson"
EVENTS = "text/event-stream"

# Refusals of calls that the document calls valid: they depend on what the store holds, or on two
# parameters together.
BY_STATE = {
    "ack_must_be_durable",
    "backup_running",
    "bad_cursor",
    "check_running",
    "gone",
    "idempotency_key_reused",
    "status_conflict",
    "unknown_job",
    "unknown_pipeline",
}
# The same for the updates of a call; all of one that is `atomic` fall with the first.
UPDATE_BY_STATE = {"atomic_neighbour", "status_conflict", "unknown_job"}
# JSON Schema counts characters, and the bounds of names are bytes of UTF-8.
TOO_MANY_BYTES = re.compile(r" is \d+ bytes, the most is \d+$")
# Rules over two parameters, which a document cannot say.
TOGETHER = re.compile(
    r"^(wait is for format=json; |from is \S+, which is not before to, |the window has \d+ steps, "
    r"|with a pipeline, step must be whole hours|this would remove every finished job; give )"
)

# JSON Schema knows no bounds of times; the description of `at` says 1970 up to 2200.
TIME_FIRST = datetime.datetime(1970, 1, 2, tzinfo=datetime.timezone.utc)
TIME_LAST = datetime.datetime(2199, 12, 30, tzinfo=datetime.timezone.utc)
UTC = strategies.just(datetime.timezone.utc)
TIMES = strategies.datetimes(
    TIME_FIRST.replace(tzinfo=None), TIME_LAST.replace(tzinfo=None), timezones=UTC)
schemathesis.openapi.format("date-time", TIMES.map(lambda time: time.isoformat()))

# What `wait` may be by the document, and what is sent instead.
WAIT = re.compile(r"[0-9]{1,5}ms|([12]?[0-9]{1,2}|300)s|[0-5]m")
WAIT_SENT = "20ms"
# Updates that a run has stored long before its end: an `after` above is `gone`, and little else.
HELD = 300
# A stream that is silent for so long is at the head of the feed.
SILENCE_S = 0.05
# So much of a stream of lines is enough.
LINES_BYTES = 64 * 1024
FEED = "GET /v1/updates"
FORMS = {FEED: ("sse", "ndjson"), "GET /v1/jobs": ("csv", "ndjson")}
# A valid idempotency key with room for a few characters.
KEY = re.compile(r"[!-~]([ -~]{0,200}[!-~])?")
# Ids of jobs that were stored in this run.
job_ids = []
# Numbers of calls that remove something.
removals = itertools.count()


@schemathesis.serializer(LINES)
def lines(ctx, value):
    """The document describes lines as an array; anything else is no update on any line."""
    values = value if isinstance(value, list) else [[value]]
    return "\n".join(json.dumps(line) for line in values).encode()


@schemathesis.deserializer(LINES)
def read_lines(ctx, response):
    return [json.loads(line) for line in response.content.splitlines() if line]


@schemathesis.deserializer("text/csv")
def read_table(ctx, response):
    return response.content.decode()


# What follows changes calls before they are made. A valid part is replaced by a valid one, and an
# invalid one is left as it is, so that what a call has to be answered stays the same. Of calls that
# would be refused for a reason other than their form, some stay: the refusal is to be seen, too.


def number(case):
    """A number that is always the same for the same call."""
    call = repr((case.operation.label, case.path_parameters, case.query, case.body))
    return zlib.crc32(call.encode(errors="surrogatepass"))


def one_in(count, case):
    return number(case) % count == 0


def is_fuzzing(case):
    return case.meta is not None and case.meta.phase.name == "fuzzing"


@schemathesis.hook("before_call")
def ask_for_every_form(ctx, case, kwargs):
    """An optional parameter is seldom given, and each form is to be seen often."""
    forms = FORMS.get(case.operation.label)
    if forms is None or not is_fuzzing(case):
        return
    query = case.query = case.query or {}
    form = number(case) % (len(forms) + 1)
    # Without a place to go on from, the feed would be silent.
    if case.operation.label == FEED and not one_in(10, case):
        query.setdefault("after", 0)
    # `wait` is for JSON alone.
    if form < len(forms) and "format" not in query and "wait" not in query:
        query["format"] = forms[form]


@schemathesis.hook("before_call")
def end_soon(ctx, case, kwargs):
    """The feed may wait for minutes, and its streams have no end: both are cut short here."""
    if case.operation.label != FEED:
        return
    query = case.query or {}
    if WAIT.fullmatch(str(query.get("wait"))):
        query["wait"] = WAIT_SENT
    after = str(query.get("after"))
    if after.isascii() and after.isdigit() and HELD < int(after) < 2**64 and not one_in(4, case):
        query["after"] = int(after) % HELD
    kwargs["hooks"] = {"response": read_a_while}


def read_a_while(response, **kwargs):
    """Called when the head of an answer has come. Of the events, schemathesis reads the first."""
    media_type = response.headers.get("Content-Type")
    if media_type not in (LINES, EVENTS):
        return
    response.raw.connection.sock.settimeout(SILENCE_S)
    if media_type == LINES:
        text = b""
        try:
            while len(text) < LINES_BYTES and (piece := response.raw.read1(LINES_BYTES)):
                text += piece
        except ReadTimeoutError:
            pass
        # The last line may be cut.
        response._content = text[:text.rfind(b"\n") + 1]
        response._content_consumed = True
        # What comes later on this connection would be taken for the answer to the next call.
        response.raw.close()
        response.close()


@schemathesis.hook("before_call")
def keep_windows_short(ctx, case, kwargs):
    """Two random times are seldom in order, and a window of centuries has too many steps."""
    query = case.query or {}
    if case.operation.label != "GET /v1/timeline" or one_in(4, case):
        return
    begin, end = moment(query.get("from")), moment(query.get("to", TIME_FIRST.isoformat()))
    if begin and end and begin < TIME_LAST:
        query["to"] = min(begin + datetime.timedelta(days=3), TIME_LAST).isoformat()


def moment(text):
    """The time that a parameter names, or None if it names none."""
    text = str(text)
    try:
        if text.isascii() and text.isdigit():
            return datetime.datetime.fromtimestamp(int(text) / 1000, datetime.timezone.utc)
        named = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return named if named.tzinfo else None
    except (ValueError, OverflowError, OSError):
        return None


@schemathesis.hook("before_call")
def send_empty_values(ctx, case, kwargs):
    """A parameter whose value is empty would be left out, and what is not sent cannot be refused."""
    is_bad = case.meta is not None and case.meta.generation.mode.is_negative
    query = (case.query or {}) if is_bad else {}
    for name, value in query.items():
        if value in (None, [], {}):
            query[name] = ""


@schemathesis.hook("before_call")
def use_keys_once(ctx, case, kwargs):
    """The same short keys come again and again, under other bodies. A removal that is made again
    under its key removes nothing, and schemathesis would take the job for one that survived it."""
    headers = case.headers or {}
    key = headers.get("Idempotency-Key")
    is_removal = case.method == "DELETE"
    if isinstance(key, str) and KEY.fullmatch(key) and (is_removal or not one_in(10, case)):
        suffix = next(removals) if is_removal else number(case)
        headers["Idempotency-Key"] = f"{key}-{suffix:x}"


@schemathesis.hook("after_call")
def remember_jobs(ctx, case, response):
    if case.operation.label == "PUT /v1/jobs/{job_id}" and response.status_code == 200:
        job_ids.append(case.path_parameters["job_id"])


@schemathesis.hook("before_call")
def remove_jobs_that_there_are(ctx, case, kwargs):
    """A random id is seldom that of a job."""
    is_removal = case.operation.label == "DELETE /v1/jobs/{job_id}" and is_fuzzing(case)
    if is_removal and case.meta.generation.mode.is_positive and job_ids and not one_in(4, case):
        case.path_parameters["job_id"] = job_ids.pop()


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
        detail = reason["detail"]
        is_known = reason["code"] in known or TOO_MANY_BYTES.search(detail)
        is_known = is_known or reason["code"] == "invalid_query" and TOGETHER.match(detail)
        assert is_known, f"a valid call was refused: {reason}"


@schemathesis.check
def tables_are_rectangular(ctx, response, case):
    """A table has a column for each field of a job."""
    if not response.headers.get("content-type", [""])[0].startswith("text/csv"):
        return
    job = case.operation.schema.raw_schema["components"]["schemas"]["Job"]
    for row in csv.reader(io.StringIO(response.content.decode(), newline="")):
        assert len(row) == len(job["properties"]), f"a row has {len(row)} cells: {row}"


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
