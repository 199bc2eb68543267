import re

import pytest
from click.testing import CliRunner

from agedetect.cli import main
from agedetect.config import TrainConfig
from agedetect.errors import ConfigError


def test_all_contradictions_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(
            model_name="vgg",
            epochs=2,
            head_epochs=3,
            loss="l1",
            use_focal_loss=True,
            dropout=1.0,
            registered_model_name="a/b",
        )
    message = str(caught.value)
    for name in ("model_name=vgg", "head_epochs=3", "use_focal_loss", "dropout=1.0", "registered_model_name='a/b'"):
        assert name in message


@pytest.mark.parametrize(("name", "value"), [("batch_size", 1), ("learning_rate", -0.1), ("image_size", 16)])
def test_a_value_below_its_bound_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}={value}: must be at least"):
        TrainConfig.from_dict({name: value})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": "mse"}, "loss=mse needs head=regression, not head=distribution"),
        ({"head": "regression", "loss": "dldl_v2"}, "loss=dldl_v2 needs head=distribution"),
        ({"use_focal_loss": True}, "use_focal_loss needs head=regression"),
        ({"augment": "flip,melt"}, "augment: melt"),
        ({"augment": "none,flip"}, "augment: none"),
        ({"protocol": "folds5", "fold": 5}, "fold=5: the protocol folds5 has 5"),
        ({"registered_model_name": "bob's"}, "registered_model_name="),
        ({"ema_decay": 1.0}, "ema_decay=1.0: must be below 1"),
        ({"coverage": 1.0}, "coverage=1.0: must be below 1"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        TrainConfig.from_dict(values)


def test_each_head_has_its_own_loss_unless_one_is_named() -> None:
    assert TrainConfig().loss_name == "dldl_v2"
    assert TrainConfig(head="regression").loss_name == "mse"
    assert TrainConfig(head="regression", use_focal_loss=True).loss_name == "focal_mse"
    assert TrainConfig(head="distribution", loss="cross_entropy").loss_name == "cross_entropy"
    assert TrainConfig(augment="none").augmentations == ()


def test_nan_is_refused() -> None:
    with pytest.raises(ConfigError, match="learning_rate=nan"):
        TrainConfig(learning_rate=float("nan"))


def test_a_config_survives_its_dictionary() -> None:
    config = TrainConfig(model_name="resnet34", seed=7)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown parameter colour"):
        TrainConfig.from_dict({"colour": "red"})


@pytest.mark.parametrize("option", ["--full-learning-rate", "--full_learning_rate", "--finetune-learning-rate"])
def test_former_option_names_set_what_they_were_renamed_to(option: str) -> None:
    """As a command line gives them, and as `mlflow run -P` does."""
    done = CliRunner().invoke(main, ["train", option, "-1"])
    assert done.exit_code == 2
    assert "finetune_learning_rate=-1.0: must be at least 0" in done.stderr


def test_the_stored_config_of_an_earlier_run_is_read() -> None:
    stored = {**TrainConfig().to_dict(), "full_learning_rate": 0.25, "flip_average": True, "plateau_epochs": 1}
    del stored["finetune_learning_rate"], stored["flip_tta"], stored["start"]
    config = TrainConfig.from_dict(stored)
    assert (config.finetune_learning_rate, config.flip_tta, config.start) == (0.25, True, "auto")
    assert config.loss == "soft_labels"  # what 'auto' was for that head
    assert TrainConfig.from_dict({**stored, "head": "regression"}).loss_name == "mse"


def test_an_augmentation_that_is_gone_is_named() -> None:
    with pytest.raises(ConfigError, match="augment: rotate, jpeg: is none of flip, crop, affine, colour, erase"):
        TrainConfig.from_dict({"augment": "flip,rotate,jpeg", "plateau_epochs": 1})


def test_a_number_may_be_auto_where_that_is_its_default_and_nowhere_else() -> None:
    assert TrainConfig(head_epochs="auto", workers="auto") == TrainConfig()
    with pytest.raises(
        ConfigError, match=r"head_epochs=many: is not a whole number or auto; learning_rate=auto: is not a number$"
    ):
        TrainConfig.from_dict({"head_epochs": "many", "learning_rate": "auto"})
    with pytest.raises(ConfigError, match="workers=-1: must be at least 0"):
        TrainConfig(workers=-1)
    done = CliRunner().invoke(main, ["train", "--workers", "many"])
    assert done.exit_code == 2
    assert "Invalid value for '--workers': 'many' is not a whole number or auto" in done.stderr


@pytest.mark.parametrize(("start", "weights"), [("scratch", "imagenet"), ("faces", "none"), ("scratch", "a.pth")])
def test_a_starting_point_that_the_weights_rule_out_is_refused(start: str, weights: str) -> None:
    with pytest.raises(ConfigError, match=f"start={start} does not go with weights={weights}"):
        TrainConfig(start=start, weights=weights)
