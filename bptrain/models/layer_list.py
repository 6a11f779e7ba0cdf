"""Lists of layers in a config: names of torch.nn and plain values, checked as they are read.

A name must be a key of `LAYERS`, and a value a number, a text or a list of numbers: a config
cannot run any other code.
"""

from difflib import get_close_matches
from inspect import Parameter
from math import isfinite
from typing import Annotated, Any, NoReturn, TypeAlias

from pydantic import Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from bptrain.config import StrictConfig
from bptrain.models.layer_table import LAYERS, arguments_of, required

EXPECTED_FORMS = (
    "a layer is its name, {name: {argument: value}}, {residual: [...]} or {concat: [[...], ...]}"
)
LONGEST = 1000  # layers of one list


def read_layer(value: object) -> object:
    """Return an entry of a list of layers as it is, or a residual or concat section from it.

    Raises ValidationError with every error, each at its own key.
    """
    if isinstance(value, (ResidualConfig, ConcatConfig)):
        return value
    if isinstance(value, dict) and "residual" in value:
        return ResidualConfig.model_validate(value)
    if isinstance(value, dict) and "concat" in value:
        return ConcatConfig.model_validate(value)
    name, given = named_layer(value)
    if name not in LAYERS:
        among = ["residual", "concat", *LAYERS] if isinstance(value, dict) else list(LAYERS)
        _refuse([((), f"there is no layer {name}", nearest(name, among))])
    if wrong := _wrong_arguments(name, given):
        written = isinstance(value, dict) and isinstance(value[name], dict)
        _refuse(wrong if written else [((name,), why, meant) for _, why, meant in wrong])
    return value


def named_layer(value: object) -> tuple[str, dict[str, Any]]:
    """Return the name of a layer's class and the arguments that are given.

    A single value in place of arguments is the first required argument, or else the first one.
    """
    if isinstance(value, str):
        return value, {}
    if not (isinstance(value, dict) and len(value) == 1):
        _refuse([((), EXPECTED_FORMS, "")])
    [(name, given)] = value.items()
    if given is None or isinstance(given, dict) or name not in LAYERS:
        return name, given if isinstance(given, dict) else {}
    arguments = arguments_of(name)
    first = next(iter([*required(arguments), *arguments]), "")
    return name, {first: given}


def _wrong_arguments(name: str, given: dict[str, Any]) -> list[tuple[tuple[str, ...], str, str]]:
    """Return the errors in the arguments of a layer: key, message and likely intended key."""
    arguments = arguments_of(name)
    known = ", ".join(arguments) or "none"
    wrong: list[tuple[tuple[str, ...], str, str]] = []
    for key, value in given.items():
        if key not in arguments:
            why = f"{name} has no such argument; its arguments: {known}"
            wrong.append(((name, key), why, nearest(key, list(arguments))))
        elif expected := _expected(arguments[key], value):
            wrong.append(((name, key), f"{key} of {name} must be {expected}", ""))
    missing = [key for key in required(arguments) if key not in given]
    if missing and not wrong:
        wrong.append(((name,), f"{name} needs {', '.join(missing)}", ""))
    return wrong


def _expected(argument: Parameter, value: object) -> str:
    """Return a description of the types that torch's annotation allows, "" if `value` has one.

    Strict, because torch is not: the text "no" would count as true.
    """
    annotation = str(argument.annotation)  # such as "typing.Union[int, tuple[int, int]]"
    kinds = {
        "true or false": "bool" in annotation,
        "text": "str" in annotation or "Literal" in annotation,
        "null": "None" in annotation or argument.default is None,
        "a number": "float" in annotation,
        "a whole number": "int" in annotation,
        "a list of numbers": any(each in annotation for each in ("tuple", "list")),
    }
    allowed = [kind for kind, is_allowed in kinds.items() if is_allowed]
    return "" if any(_is(value, kind, allowed) for kind in allowed) else " or ".join(allowed)


def _is(value: object, kind: str, allowed: list[str]) -> bool:
    match kind:
        case "true or false":
            return isinstance(value, bool)
        case "text":
            return isinstance(value, str)
        case "null":
            return value is None
        case "a list of numbers":
            number = "a number" if "a number" in allowed else "a whole number"
            return isinstance(value, list) and all(_is(each, number, []) for each in value)
        case "a number":
            return _is(value, "a whole number", []) or (
                isinstance(value, float) and isfinite(value)
            )
    return isinstance(value, int) and not isinstance(value, bool)


def nearest(word: str, choices: list[str]) -> str:
    """Return the choice most similar to the word, ignoring case, or ""."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = get_close_matches(str(word).lower(), list(by_lower), n=1)
    return by_lower[found[0]] if found else ""


def _refuse(wrong: list[tuple[tuple[str, ...], str, str]]) -> NoReturn:
    """Raise the errors, each at its key; pydantic prepends the key of the list."""
    raise ValidationError.from_exception_data(
        "layer",
        [
            InitErrorDetails(
                type=PydanticCustomError("layer", "{error}", {"error": why, "meant": meant}),
                loc=key,
                input=None,
            )
            for key, why, meant in wrong
        ],
    )


Layer: TypeAlias = Annotated[
    Any,
    PlainValidator(read_layer),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "enum": list(LAYERS)},
                {
                    "type": "object",
                    "propertyNames": {"enum": [*LAYERS, "residual", "projection", "concat", "dim"]},
                },
            ]
        }
    ),
]
LayerList: TypeAlias = Annotated[list[Layer], Field(min_length=1, max_length=LONGEST)]


class ResidualConfig(StrictConfig):
    """Layers whose output is added to their input."""

    residual: LayerList = Field(
        description="layers of the branch, whose output is added to its input"
    )
    projection: bool = Field(
        default=False,
        description="put a linear layer or a convolution of kernel size 1 on the skip connection, "
        "if the branch changes the shape",
    )


class ConcatConfig(StrictConfig):
    """Several lists of layers on one input, their outputs concatenated."""

    concat: Annotated[list[LayerList], Field(min_length=1, max_length=64)] = Field(
        description="layers of each branch; all branches read the same input, and each has at "
        "least one layer"
    )
    dim: int = Field(
        default=1,
        ge=-8,
        le=8,
        description="axis along which the outputs are concatenated; the default 1 is the channels",
    )
