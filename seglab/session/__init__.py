"""A run, assembled once: data, task, callbacks, loggers and trainer."""

from seglab.session.job import JobResult, run_job, start_job
from seglab.session.session import Evaluated, Session

__all__ = ["Evaluated", "JobResult", "Session", "run_job", "start_job"]
