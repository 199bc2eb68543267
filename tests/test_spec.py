"""What a model file says about itself survives the trip, and nothing else passes for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agedetect_runtime.errors import ModelError
from agedetect_runtime.spec import RESAMPLINGS, SCHEMA, UTKFACE_TEMPLATE, ModelSpec

FIELDS = {
    "image_size": 128,
    "resampling": "bilinear",
    "backbone": "mobilenet_v2",
    "min_age": 0,
    "max_age": 116,
    "schema": SCHEMA,
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
YEARS = st.floats(-1000, 1000, allow_nan=False)
SPECS = st.builds(
    lambda ages, **rest: ModelSpec(min_age=min(ages), max_age=max(ages), **rest),
    ages=st.tuples(YEARS, YEARS).filter(lambda ages: ages[0] != ages[1]),
    image_size=st.integers(16, 4096),
    resampling=st.sampled_from(RESAMPLINGS),
    backbone=st.text(),
    precision=st.sampled_from(["float32", "int8"]),
    coverage=st.none() | st.floats(0.01, 0.99),
    template=st.lists(st.tuples(*[st.floats(-1, 2)] * 2), min_size=5, max_size=5, unique=True).map(tuple),
    provenance=st.dictionaries(st.text(), JSON_VALUES, max_size=4),
)


@settings(deadline=None, derandomize=True)
@given(SPECS)
def test_json_brings_back_the_same_spec_in_one_line(spec: ModelSpec) -> None:
    text = spec.to_json()
    assert ModelSpec.from_json(text) == spec
    assert "\n" not in text


def test_a_known_spec_is_read() -> None:
    spec = ModelSpec.from_json(json.dumps(FIELDS))
    assert (spec.image_size, spec.resampling, spec.max_age, spec.coverage) == (128, "bilinear", 116, None)
    assert (spec.precision, dict(spec.provenance)) == ("float32", {})


def test_a_file_without_a_template_has_utkfaces() -> None:
    assert ModelSpec.from_json(json.dumps(FIELDS)).template == UTKFACE_TEMPLATE
    points = [[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.4, 0.7], [0.6, 0.7]]
    spec = ModelSpec.from_json(json.dumps(FIELDS | {"template": points}))
    assert spec.template == tuple(map(tuple, points))


def test_unknown_fields_are_ignored() -> None:
    assert ModelSpec.from_json(json.dumps(FIELDS | {"later": 1})) == ModelSpec.from_json(json.dumps(FIELDS))


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_an_unknown_schema_is_refused_even_where_the_rest_is_unknown_too(schema: object) -> None:
    with pytest.raises(ModelError, match=f"schema {schema!r} is unknown; this version reads schema 1"):
        ModelSpec.from_json(json.dumps({"schema": schema}))


@pytest.mark.parametrize("name", ["image_size", "resampling", "backbone", "min_age", "max_age"])
def test_a_missing_field_is_named(name: str) -> None:
    value = {key: item for key, item in FIELDS.items() if key != name}
    with pytest.raises(ModelError, match=f"lacks {name}$"):
        ModelSpec.from_json(json.dumps(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 15),
        ("image_size", 4097),
        ("image_size", 128.0),
        ("image_size", "128"),
        ("image_size", True),
        ("resampling", "lanczos"),
        ("resampling", ["bilinear"]),
        ("backbone", None),
        ("precision", 32),
        ("min_age", "0"),
        ("min_age", 116),
        ("min_age", 10**400),
        ("max_age", -1),
        ("max_age", True),
        ("coverage", 0),
        ("coverage", 1),
        ("coverage", 90),
        ("coverage", "0.9"),
        ("template", None),
        ("template", [[0.3, 0.3]] * 5),
        ("template", [[0.1 * x, 0.3] for x in range(4)]),
        ("template", [[0.1 * x, 0.3, 0.5] for x in range(5)]),
        ("template", [[0.1 * x, 3] for x in range(5)]),
        ("template", [[0.1 * x, "0.3"] for x in range(5)]),
        ("template", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("provenance", []),
        ("provenance", None),
    ],
)
def test_an_impossible_value_is_named(name: str, value: object) -> None:
    words = {"min_age": "age range", "max_age": "age range"}
    with pytest.raises(ModelError, match=words.get(name, name)):
        ModelSpec.from_json(json.dumps(FIELDS | {name: value}))


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"schema": NaN}', "[" * 100_000, "1" * 10_000 + "x"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="not JSON"):
        ModelSpec.from_json(text)


@pytest.mark.parametrize("text", ["[]", "1", '"spec"', "null"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="not a JSON object"):
        ModelSpec.from_json(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes"])
def test_provenance_that_json_cannot_hold_is_refused_when_written(value: object) -> None:
    spec = ModelSpec(**{**FIELDS, "provenance": {"mae": value}})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="provenance cannot be written as JSON"):
        spec.to_json()
