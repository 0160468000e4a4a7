"""On how many processes a run may be resumed; tests/end_to_end/test_other_processes.py does so."""

import pytest

from seglab.config.compose import compose
from seglab.errors import ConfigError
from seglab.run.last_checkpoint import Position
from seglab.run.resume import check_processes
from seglab.schema import TrainConfig


@pytest.mark.parametrize(
    ("rule", "before", "now", "within_epoch", "reason"),
    [
        ("none", 2, 1, True, "interrupted within an epoch on 2 processes, not 1"),
        ("none", 1, 2, True, "interrupted within an epoch on 1 process, not 2"),
        ("linear", 2, 1, False, "lr_rule=linear has set the learning rates of this run for 2"),
        ("linear", 2, 2, False, None),
        ("none", 2, 1, False, None),
        ("none", 2, 2, True, None),
        ("linear", None, 2, True, None),
    ],
)
def test_samples_and_rates_belong_to_a_number_of_processes(
    rule: str, before: int | None, now: int, within_epoch: bool, reason: str | None
) -> None:
    given = [f"optimizer.lr_rule={rule}", f"trainer.devices={now}"]
    config = compose("train", TrainConfig, given).config
    reached = Position(step=0, epoch=0, batches=int(within_epoch), processes=before)
    if reason is None:
        check_processes(config, reached, now)
        return
    with pytest.raises(ConfigError) as error:
        check_processes(config, reached, now)
    assert f"trainer.devices={now}: " in str(error.value)
    assert reason in str(error.value)
    assert f"give trainer.devices={before} to resume it" in str(error.value)
