"""A run, assembled once: data, task, callbacks, loggers and trainer."""

from seglab.session.evaluation import EvaluationResult, validate
from seglab.session.prediction import predict
from seglab.session.session import Session
from seglab.session.training import fit

__all__ = [
    "EvaluationResult",
    "Session",
    "fit",
    "predict",
    "validate",
]
