"""Data with other classes than a checkpoint's."""

import pytest

from seglab.config.stored_classes import check_classes, renamed_classes
from seglab.errors import ConfigError

TRAINED = ["background", "cat", "dog", "cow", "horse"]


def refusal(now: list[str]) -> str:
    with pytest.raises(ConfigError) as error:
        check_classes(TRAINED, now, "data=pairs")
    return str(error.value)


def test_another_number_of_classes_is_named_with_some_of_them() -> None:
    assert refusal(["background", "cat"]) == (
        "data=pairs: 2 classes (background, cat), but the checkpoint was trained on 5 classes "
        "(background, cat, dog, cow, …)"
    )


def test_the_same_classes_in_another_order_are_refused() -> None:
    text = refusal(["background", "dog", "cat", "cow", "horse"])
    assert text.startswith("data=pairs: dog is class 1 there and class 2 of the checkpoint; ")
    assert text.endswith("background, cat, dog, cow, horse")


def test_other_names_are_a_warning() -> None:
    check_classes(TRAINED, [name.upper() for name in TRAINED], "data=pairs")
    assert renamed_classes(TRAINED, [*TRAINED[:4], "pony"]) == (
        "the data has other classes than the checkpoint: it measures horse as pony"
    )
    every = renamed_classes(TRAINED, [name.upper() for name in TRAINED])
    assert every is not None
    assert every.endswith("cow as COW, and 1 more")
    assert renamed_classes(TRAINED, TRAINED) is None
    assert renamed_classes([], TRAINED) is None
