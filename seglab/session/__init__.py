"""A run, assembled once: data, task, callbacks, loggers and trainer."""

from seglab.session.job import JobResult, run_job, start_job
from seglab.session.session import Evaluated, Session
from seglab.session.verdict import check_required

__all__ = ["Evaluated", "JobResult", "Session", "check_required", "run_job", "start_job"]
