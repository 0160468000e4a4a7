"""A run, assembled once: data, task, callbacks, loggers and trainer."""

from seglab.session.evaluation import EvaluationResult, validate
from seglab.session.job import JobResult, run_job, start_job
from seglab.session.prediction import predict
from seglab.session.required_miou import check_required_miou
from seglab.session.session import Session
from seglab.session.training import fit

__all__ = [
    "EvaluationResult",
    "JobResult",
    "Session",
    "check_required_miou",
    "fit",
    "predict",
    "run_job",
    "start_job",
    "validate",
]
