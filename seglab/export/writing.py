"""Writes a model as one file of ONNX or torch.export, with its metadata."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from seglab.errors import ConfigError
from seglab.export.plain import PlainNet, PlainObjects
from seglab.models.exported import INPUT, import_extra

OPSET = 18
"""Of ONNX 1.13 (2022); the newest that torch's exporter through TorchScript writes well."""

MAX_ONNX = 2**31
"""Bytes of a protobuf message, and so of an ONNX file that is one file."""

EXPECTED: tuple[tuple[type[Warning], str, str], ...] = (
    # torch's exporter through TorchScript, the only one that exports torchvision's Mask R-CNN and
    # needs no further package: https://docs.pytorch.org/docs/stable/onnx_torchscript.html
    (DeprecationWarning, r"You are using the legacy TorchScript-based ONNX export", ""),
    (DeprecationWarning, r"The feature will be removed", r"torch\.onnx"),
    (FutureWarning, r"`torch\.jit\.script` is deprecated", r"torch\.jit"),
    # Python values that become constants: the file is run on images of other sizes, and compared.
    # https://github.com/pytorch/vision/blob/main/torchvision/models/detection/transform.py
    (torch.jit.TracerWarning, "", ""),  # type: ignore[attr-defined]
    (UserWarning, r"To copy construct from a tensor", r"torch"),
    # The index is a class map, of no negative values:
    # https://github.com/pytorch/pytorch/blob/main/torch/onnx/_internal/torchscript_exporter/
    (UserWarning, r"Exporting aten::index operator of advanced indexing", r"torch\.onnx"),
    # The steps of a padding's Slice stay in the graph, where they are computed:
    # https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/passes/onnx/constant_fold.cpp
    (UserWarning, r"Constant folding - Only steps=1 can be constant folded", ""),
    # A batch norm's count of batches has no elements to compare with its storage:
    # https://github.com/pytorch/pytorch/blob/main/torch/export/pt2_archive/_package_weights.py
    (UserWarning, r"No complete tensor found in the group", r"torch\.export"),
)
"""Warnings by category, beginning and module that are answered for here."""


@contextmanager
def _expected_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for category, message, module in EXPECTED:
            warnings.filterwarnings("ignore", message, category, module)
        yield


def onnx_bytes(net: PlainNet, example: Tensor, metadata: Mapping[str, str]) -> bytes:
    """Return the net as the bytes of an ONNX file.

    Args:
        net: in evaluation mode, on the CPU.
        example: ``(1, C, H, W)`` uint8, whose height and width bind nothing.
        metadata: texts by name.

    Raises:
        ConfigError: the extra ``onnx`` is not installed, the file would be too large for one, or
            the net cannot be written so.
    """
    onnx = import_extra("onnx")
    import_extra("onnxruntime")
    size = sum(part.nbytes for part in net.state_dict().values())
    if size >= MAX_ONNX:
        raise ConfigError(
            f"output: {size / 1e9:.1f} GB of weights; one ONNX file has at most 2 GiB; give a .pt2"
        )
    n, h, w = ("objects", "height", "width")
    axes = {
        INPUT: {2: h, 3: w},
        "class_map": {1: h, 2: w},
        "logits": {2: h, 3: w},
        **{name: {0: n} for name in ("boxes", "labels", "scores")},
        "masks": {0: n, 1: h, 2: w},
    }
    content = io.BytesIO()
    with _expected_warnings(), torch.no_grad():
        try:
            torch.onnx.export(
                net,
                (example,),
                content,  # type: ignore[arg-type] # torch/onnx/__init__.py leaves it out
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[*net.outputs],
                dynamic_axes={name: axes[name] for name in (INPUT, *net.outputs)},
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise _refusal("ONNX", error) from None
    model = onnx.load_model_from_string(content.getvalue())
    onnx.helper.set_model_props(model, dict(metadata))
    serialised: bytes = model.SerializeToString()
    return serialised


def program_bytes(net: PlainNet, example: Tensor, metadata: Mapping[str, str]) -> bytes:
    """Return the net as the bytes of a file of ``torch.export``; arguments as :func:`onnx_bytes`.

    Raises:
        ConfigError: a Mask R-CNN, or a net that cannot be written so.
    """
    if isinstance(net, PlainObjects):
        raise ConfigError(
            "output: torch.export cannot write a Mask R-CNN, whose number of objects depends on "
            "the image; give output=FILE.onnx"
        )
    free = torch.export.Dim.DYNAMIC
    content = io.BytesIO()
    with _expected_warnings(), torch.no_grad():
        try:
            program = torch.export.export(
                net, (example,), dynamic_shapes={"image": {2: free, 3: free}}
            )
            torch.export.save(program, content, extra_files=dict(metadata))
        except (RuntimeError, ValueError, TypeError) as error:
            raise _refusal("torch.export", error) from None
    return content.getvalue()


def _refusal(what: str, error: Exception) -> ConfigError:
    reason = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split())
    return ConfigError(f"model.net: {what} cannot write it for images of any size: {reason}")
