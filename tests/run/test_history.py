"""What Lightning logs arrives in the run folder's history, each step once."""

from pathlib import Path
from types import SimpleNamespace

from seglab.loggers.history import HistoryLogger
from seglab.run.history import History


def test_values_of_one_step_share_a_row(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    logger = HistoryLogger(SimpleNamespace(history=history))  # type: ignore[arg-type]
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=0)
    logger.log_metrics({"lr/head": 0.1}, step=0)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    logger.log_metrics({"val/mIoU": 0.1 + 0.2}, step=1)
    history.flush()
    assert history.rows() == [
        {"step": "0", "train/loss": "2.0", "epoch": "0", "lr/head": "0.1", "val/mIoU": ""},
        {"step": "1", "train/loss": "1.0", "epoch": "", "lr/head": "", "val/mIoU": f"{0.1 + 0.2}"},
    ]


def test_values_without_a_step_belong_to_the_first(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    HistoryLogger(SimpleNamespace(history=history)).log_metrics({"a": 1.0})
    history.flush()
    assert history.rows() == [{"step": "0", "a": "1.0"}]


def test_hyperparameters_are_left_to_the_run_folder(tmp_path: Path) -> None:
    logger = HistoryLogger(History(tmp_path / "metrics.csv"))
    logger.log_hyperparams({"lr": 1.0})
    logger.finalize("success")
    assert (logger.name, logger.version) == ("seglab", 0)
    assert list(tmp_path.iterdir()) == []
