"""Models for other runtimes: files of ONNX and torch.export, checked against the task."""
