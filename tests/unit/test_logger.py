"""Progress of a whole run on one line."""

import logging
import os
import pty
import termios
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_line import LogHandler

from das.jobs.progress import progress


@pytest.fixture
def handler(monkeypatch):
    monkeypatch.delenv("DAS_PROGRESS", raising=False)
    made = LogHandler(SimpleNamespace(quiet=set(), show_failed_logs=False), None)
    yield made
    made.close()
    os.environ.pop("DAS_PROGRESS", None)


def record(level=logging.INFO, message="", **about):
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    vars(made).update(about)
    return made


def emit_run(handler):
    handler.emit(record(event=LogEvent.RUN_INFO, stats={"total": 3}))
    handler.emit(record(event=LogEvent.JOB_INFO, rule_msg="digits: drawing", rule_name="draw"))
    handler.emit(record(event=LogEvent.PROGRESS, done=1, total=3))
    handler.emit(record(event=LogEvent.JOB_INFO, rule_msg=None, rule_name="place"))
    handler.emit(record(message="not for users"))


def test_a_file_has_a_line_for_each_job_that_starts_and_for_errors(handler, capfd):
    emit_run(handler)
    handler.emit(record(logging.ERROR, "error: lds.subsets: found 6"))
    assert capfd.readouterr().err.splitlines() == [
        "0 of 3 jobs, digits: drawing",
        "1 of 3 jobs, place",
        "error: lds.subsets: found 6",
    ]


@pytest.mark.parametrize("size", [(40, 120), (0, 0)], ids=["of known size", "that says no size"])
def test_a_terminal_has_one_line_that_jobs_do_not_draw_over(monkeypatch, size):
    main, side = pty.openpty()
    termios.tcsetwinsize(side, size)
    monkeypatch.setattr("sys.stderr", os.fdopen(side, "w"))
    handler = LogHandler(SimpleNamespace(quiet=set(), show_failed_logs=False), None)
    try:
        emit_run(handler)
        list(progress(range(2), "job"))
    finally:
        handler.close()
        del os.environ["DAS_PROGRESS"]
    shown = os.read(main, 2**16).decode()
    lines = [line.strip() for line in shown.split("\r") if line.strip()]
    assert "job" not in shown.replace("jobs", "")
    assert "not for users" not in shown
    assert lines[-1].startswith("1 of 3 jobs") and lines[-1].endswith("place")
    assert shown.count("\n") <= 1
