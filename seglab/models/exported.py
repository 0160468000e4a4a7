"""Nets in a file that ``seglab export`` wrote: they take plain pixels, and normalise themselves."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seglab.errors import ConfigError, RunError, one_line

INPUT = "image"
"""``(1, C, H, W)`` uint8 of any size."""

SEMANTIC = ("class_map", "logits")
"""Outputs: ``(1, H, W)`` uint8 and ``(1, K, H, W)`` float32."""

OBJECTS = ("class_map", "boxes", "labels", "scores", "masks")
"""Outputs: ``(1, H, W)`` uint8, ``(N, 4)`` float32 ``x0, y0, x1, y1``, ``(N,)`` int64, ``(N,)``
float32, descending, and ``(N, H, W)`` uint8 of 0 and 1."""


class ExportedNet(nn.Module):
    """A net in a file, which a task runs with mean 0 and standard deviation 1/255.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def run(self, image: Tensor) -> list[Tensor]:
        """Map ``(1, C, H, W)`` uint8 on the CPU to the outputs of the file."""
        raise NotImplementedError

    def answers(self, images: Tensor) -> Iterator[list[Tensor]]:
        """Yield the outputs for each of ``(B, C, H, W)`` floats in 0..255, on their device.

        Raises:
            RunError: the file does not run, or gives something else than its outputs.
        """
        for image in images.round().to(torch.uint8):
            try:
                outputs = self.run(image[None].cpu())
            except Exception as error:  # of onnxruntime, which has a type of its own for each
                size = "x".join(map(str, image.shape[:0:-1]))
                raise RunError(
                    f"{self.path}: fails on an image of {size}: {one_line(error)}"
                ) from None
            yield [output.to(images.device) for output in outputs]


class OnnxFile(ExportedNet):
    """A net in ONNX's format, on the CPU with as many threads as torch has now.

    Raises:
        ConfigError: the extra ``onnx`` is not installed.
        RunError: no ONNX file, one with data in other files, or one that cannot be run.
    """

    outputs: tuple[str, ...]

    def __init__(self, path: str) -> None:
        super().__init__(path)
        runtime = import_extra("onnxruntime")
        content = read_onnx(self.path).SerializeToString()  # the checked bytes are those that run
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(content, options, ["CPUExecutionProvider"])
            names = [output.name for output in self.session.get_outputs()]
        except Exception as error:  # of onnxruntime
            raise RunError(f"checkpoint={path}: cannot be run: {one_line(error)}") from None
        if names != [*self.outputs]:
            raise RunError(
                f"checkpoint={path}: gives {', '.join(names)}; an exported model of its task gives "
                f"{', '.join(self.outputs)}"
            )

    def run(self, image: Tensor) -> list[Tensor]:
        """See :meth:`ExportedNet.run`."""
        return [torch.from_numpy(x) for x in self.session.run(None, {INPUT: image.numpy()})]


class OnnxNet(OnnxFile):
    """A semantic net in ONNX's format."""

    outputs = SEMANTIC

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` floats in 0..255 to logits ``(B, K, H, W)``."""
        return torch.cat([logits for _, logits in self.answers(images)])


class OnnxObjects(OnnxFile):
    """A Mask R-CNN in ONNX's format, with torchvision's results.

    Args:
        path: of the file.
        limit: how many objects it finds at most.
    """

    outputs = OBJECTS

    def __init__(self, path: str, limit: int = 100) -> None:
        super().__init__(path)
        self.limit = limit

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Map images ``(C, H, W)`` of floats in 0..255 to their objects; masks are 0 or 1."""
        found = (next(self.answers(image[None])) for image in images)
        return [
            {"boxes": boxes, "labels": labels, "scores": scores, "masks": masks[:, None].float()}
            for _, boxes, labels, scores, masks in found
        ]


class ProgramNet(ExportedNet):
    """A semantic net of ``torch.export``. Loading one can run any code that its file holds.

    Raises:
        RunError: not such a file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            with self.path.open("rb") as file:
                program = torch.export.load(file)
        except Exception as error:  # a damaged archive may raise any
            raise RunError(
                f"checkpoint={path}: damaged, or no model of torch.export: {one_line(error)}"
            ) from None
        # A method and no module: a program cannot be switched to training, which tasks try. The
        # guards compare strides of the image that was traced with those of others; no number
        # depends on them.
        self.program = program.module(check_guards=False).forward

    def run(self, image: Tensor) -> list[Tensor]:
        """See :meth:`ExportedNet.run`."""
        return [*self.program(image)]

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` floats in 0..255 to logits ``(B, K, H, W)``."""
        return torch.cat([logits for _, logits in self.answers(images)])


def import_extra(name: str) -> Any:
    """Import a module of the extra ``onnx``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(f"ONNX files need pip install 'seglab[onnx]': no {name} here") from None


def read_onnx(path: Path) -> Any:
    """Read an ONNX file, and none of the files that it names.

    Returns:
        The ``onnx.ModelProto``.

    Raises:
        ConfigError: the extra ``onnx`` is not installed.
        RunError: no such file, not ONNX, or with weights in other files.
    """
    onnx = import_extra("onnx")
    if not path.is_file():
        raise RunError(f"checkpoint={path}: no such file")
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf's
        raise RunError(f"checkpoint={path}: damaged, or no ONNX file: {one_line(error)}") from None
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise RunError(f"checkpoint={path}: refused: some of its weights are in other files")
    return model


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor in a protobuf message, those of inner graphs and functions included."""
    pending = [message]
    while pending:
        message = pending.pop()
        if message.DESCRIPTOR.name == "TensorProto":
            yield message
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending += value if hasattr(value, "add") else [value]
