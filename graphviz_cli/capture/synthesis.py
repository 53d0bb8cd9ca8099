"""Inputs for a module that says nothing about them: tried on a copy that holds no data."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import random
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from graphviz_cli.capture.engine import (
    FAKE_LOGGER,
    NEEDS_VALUES,
    clear_hooks,
    fake_tensors,
    without_data,
)
from graphviz_cli.capture.inputs import Call, Draw, Input, TensorInput, ValueInput, required

SECONDS = 8.0
"""How long inputs are tried; one try may last longer."""
_TRIES = 2_000
_LAYERS = 12
_BATCH, _LENGTH, _STEPS = 2, 16, 8
_SIDES = {
    1: (64, 256, 1024, 16_000),
    2: (224, 32, 64, 96, 128, 256, 299, 512, 28, 16),
    3: (16, 32, 64),
}
_VALUES = {"int": 2, "float": 1.0, "bool": False}
_LAST_RESORTS = (
    TensorInput((_BATCH, 3, 224, 224)),
    TensorInput((_BATCH, _LENGTH)),
    TensorInput((_BATCH, _LENGTH), torch.int64),
    TensorInput((_BATCH, 1, 28, 28)),
    TensorInput((_BATCH,), torch.int64),
    TensorInput((_BATCH,)),
    TensorInput(()),
)
_MODALITIES = ("pixel_values", "input_values", "input_features")
"""How transformers calls inputs that are no text."""
_WHOLE_NUMBERS = ("ids", "idx", "index", "indices", "token", "tokens", "label", "labels", "target")


def synthesised(module: nn.Module, draw: Draw, offer: Call | None = None) -> Call | None:
    """A call that the module accepts, made up from its signature and its first layers.

    `offer` is a call to try first. The tries run under FakeTensorMode on a copy without data and
    hooks, so that nothing is computed and the module, its buffers and all random numbers stay as
    they are. Where the forward looks at values (`x.item()`), the first inputs that came so far are
    taken. None if nothing fits in time.
    """
    tensors = _of_layers(module)
    fallback: tuple[list[Parameter], Sequence[Input]] | None = None
    tries = itertools.islice(_tries(module, tensors), _TRIES)
    deadline = time.monotonic() + SECONDS
    with _nothing_else_changed(), fake_tensors() as mode:
        try:
            blank = without_data(module, mode)
        except Exception:  # an attribute of the user's that cannot be copied
            return offer
        clear_hooks(blank)
        if offer is not None and _outcome(blank, offer) is not False:
            return offer
        for parameters, inputs in tries:
            fits = _outcome(blank, _call(parameters, [_blank(wanted, draw) for wanted in inputs]))
            if fits:
                fallback = (parameters, inputs)
                break
            if fits is None:
                fallback = fallback or (parameters, inputs)
            if time.monotonic() > deadline:
                break
    if fallback is None:
        return offer
    parameters, inputs = fallback
    return _call(parameters, [wanted.made(draw) for wanted in inputs])


def _outcome(blank: nn.Module, call: Call) -> bool | None:
    """Whether a module accepts a call; None where that depends on values."""
    try:
        blank(*call.args, **call.kwargs)
    except NEEDS_VALUES:
        return None
    except Exception:  # these inputs do not fit, for whatever reason
        return False
    return True


def is_partial(module: nn.Module, call: Call) -> bool:
    """The module may take more than one kind of input, and the call lacks one of them."""
    names = signature(module.forward).parameters
    return any(name in names and name not in call.kwargs for name in _MODALITIES)


def _tries(
    module: nn.Module, tensors: Sequence[Input]
) -> Iterator[tuple[list[Parameter], Sequence[Input]]]:
    for parameters in _parameter_sets(module):
        choices = [_choices(parameter, module, tensors) for parameter in parameters]
        longest = max(map(len, choices), default=0)
        # First one kind of input for all, which is what most modules with several take.
        aligned = ([c[min(i, len(c) - 1)] for c in choices] for i in range(longest))
        crossed: Iterable[Sequence[Input]] = itertools.product(*choices)
        for inputs in itertools.chain(aligned, crossed):
            yield parameters, inputs


def _parameter_sets(module: nn.Module) -> list[list[Parameter]]:
    """Which parameters of the forward are given a value, the most probable set first."""
    wanted = required(module.forward)
    if wanted:
        return [wanted]
    try:
        parameters = dict(signature(module.forward).parameters)
    except (TypeError, ValueError):
        return [[Parameter("input", Parameter.POSITIONAL_ONLY)]]
    # transformers: every parameter has a default, and the model names the one that matters.
    main = getattr(module, "main_input_name", None)
    sets = []
    if main in parameters:
        sets += [[main], [main, "decoder_input_ids"], ["input_ids", "pixel_values"]]
    elif parameters:
        sets += [[], [next(iter(parameters))]]
    known = [names for names in sets if all(name in parameters for name in names)]
    if not parameters or not known:
        return [[]]
    return [[parameters[name] for name in names] for names in known]


def _choices(parameter: Parameter, module: nn.Module, tensors: Sequence[Input]) -> list[Input]:
    annotation = getattr(parameter.annotation, "__name__", str(parameter.annotation))
    if annotation in _VALUES:
        return [ValueInput(_VALUES[annotation])]
    own = _of_config(parameter.name, getattr(module, "config", None))
    if own is not None:
        return [own]
    choices = list(dict.fromkeys([*tensors, *_LAST_RESORTS]))
    if parameter.name.lower().split("_")[-1] in _WHOLE_NUMBERS:
        choices.sort(key=lambda c: not (isinstance(c, TensorInput) and c.dtype == torch.int64))
    return choices


def _of_config(name: str, config: Any) -> Input | None:
    """An input by the name that transformers gives it, sized by the model's configuration."""

    def size(*names: str) -> int | None:
        for holder in (config, getattr(config, "vision_config", None)):
            for attribute in names:
                value = getattr(holder, attribute, None)
                value = value[0] if isinstance(value, list | tuple) and value else value
                if isinstance(value, int):
                    return value
        return None

    if config is None:
        return None
    if name.endswith("input_ids"):
        vocabulary = size("vocab_size")
        text = getattr(config, "text_config", None)
        vocabulary = vocabulary or getattr(text, "vocab_size", None)
        return TensorInput((_BATCH, _LENGTH), torch.int64, vocabulary)
    if name == "pixel_values":
        side = size("image_size") or 224
        return TensorInput((_BATCH, size("num_channels") or 3, side, side))
    if name == "input_values":
        return TensorInput((_BATCH, 16_000))
    if name == "input_features":
        frames = size("max_source_positions") or 1_500
        return TensorInput((_BATCH, size("num_mel_bins", "feature_size") or 80, 2 * frames))
    return None


def _of_layers(module: nn.Module) -> list[Input]:
    """What the first layers would take."""
    found: list[Input] = []
    layers = 0
    for layer in module.modules():
        shapes = list(_of_layer(layer))
        found += shapes
        layers += bool(shapes)
        if layers == _LAYERS:
            break
    for parameter in itertools.islice(module.parameters(recurse=False), _LAYERS):
        found += [TensorInput((_BATCH, size)) for size in parameter.shape]
    return found


def _of_layer(layer: nn.Module) -> Iterator[Input]:
    if isinstance(layer, nn.Linear):
        yield TensorInput((_BATCH, layer.in_features))
        yield TensorInput((_BATCH, _STEPS, layer.in_features))
    elif isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        yield TensorInput((_BATCH, _LENGTH), torch.int64, layer.num_embeddings)
    elif isinstance(layer, nn.RNNBase):
        yield TensorInput((_BATCH, _STEPS, layer.input_size))
    elif isinstance(layer, nn.RNNCellBase):
        yield TensorInput((_BATCH, layer.input_size))
    elif isinstance(layer, nn.MultiheadAttention):
        yield TensorInput((_BATCH, _STEPS, layer.embed_dim))
    elif isinstance(layer, nn.Bilinear):
        yield TensorInput((_BATCH, layer.in1_features))
        yield TensorInput((_BATCH, layer.in2_features))
    elif isinstance(layer, nn.LayerNorm):
        yield TensorInput((_BATCH, _STEPS, *layer.normalized_shape))
    elif isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
        yield from _pictures(layer.in_channels, 1)
    elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        yield from _pictures(layer.in_channels, 2)
    elif isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
        yield from _pictures(layer.in_channels, 3)
    elif isinstance(layer, nn.BatchNorm1d):
        yield TensorInput((_BATCH, layer.num_features))
    elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d):
        yield from _pictures(layer.num_features, 2)
    elif isinstance(layer, nn.GroupNorm):
        yield from _pictures(layer.num_channels, 2)


def _pictures(channels: int, dimensions: int) -> Iterator[Input]:
    sides = _SIDES[dimensions]
    if channels == 1 and dimensions == 2:
        sides = (28, 32, *sides)
    for side in sides:
        yield TensorInput((_BATCH, channels, *[side] * dimensions))


def _call(parameters: Sequence[Parameter], values: Sequence[Any]) -> Call:
    by_name = [p.kind is Parameter.KEYWORD_ONLY or p.default is not p.empty for p in parameters]
    return Call(
        tuple(value for value, named in zip(values, by_name) if not named),
        {p.name: value for p, value, named in zip(parameters, values, by_name) if named},
    )


def _blank(wanted: Input, draw: Draw) -> Any:
    if not isinstance(wanted, TensorInput):
        return wanted.made(draw)
    return torch.empty(wanted.shape, dtype=wanted.dtype or draw.dtype, device=draw.device)


@contextmanager
def _nothing_else_changed() -> Iterator[None]:
    """Random numbers stay as they are, and the user's forward says nothing."""
    logger = logging.getLogger(FAKE_LOGGER)
    was_disabled = logger.disabled
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = None if numpy is None else numpy.random.get_state()
    is_awake = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with (
        torch.random.fork_rng(devices=range(torch.cuda.device_count()) if is_awake else ()),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = was_disabled
            random.setstate(python_state)
            if numpy is not None:
                numpy.random.set_state(numpy_state)
