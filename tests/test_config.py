import pytest

from agedetect.config import TrainConfig
from agedetect.errors import ConfigError


def test_all_contradictions_are_named_at_once():
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
def test_a_value_below_its_bound_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name}={value}: must be at least"):
        TrainConfig(**{name: value})


def test_nan_is_refused():
    with pytest.raises(ConfigError, match="learning_rate=nan"):
        TrainConfig(learning_rate=float("nan"))


def test_a_config_survives_its_dictionary():
    config = TrainConfig(model_name="resnet34", seed=7)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="unknown parameter colour"):
        TrainConfig.from_dict({"colour": "red"})
