"""A run, assembled once: data, task, callbacks, loggers and trainer."""

from seglab.session.job import JobResult, run_job, start_job
from seglab.session.required_miou import check_required_miou
from seglab.session.session import EvaluationResult, Session

__all__ = [
    "EvaluationResult",
    "JobResult",
    "Session",
    "check_required_miou",
    "run_job",
    "start_job",
]
