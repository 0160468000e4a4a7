"""Weights: what fits is loaded, what does not is said, and nothing is unpickled."""

import functools
import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from seglab.errors import ConfigError, RunError
from seglab.models.fcn import FCN
from seglab.models.mask_rcnn import MaskRCNN
from seglab.models.weights import load_matching, load_pretrained, read_state


@pytest.fixture(scope="module")
def imagenet() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return get_model("mobilenet_v2").state_dict()


def same(net: nn.Module, state: dict[str, torch.Tensor], prefix: str = "") -> bool:
    own = net.state_dict()
    return all(torch.equal(own[prefix + name], value) for name, value in state.items())


def test_a_classification_net_fills_the_backbone(imagenet: dict[str, torch.Tensor]) -> None:
    net = FCN(5, "mobilenet_v2")
    report = load_matching(net, imagenet, "a.pth")
    features = {name: value for name, value in imagenet.items() if name.startswith("features.")}
    assert same(net.backbone, features)
    assert len(report.loaded) == len(features) == 312
    assert report.unexpected == ("classifier.1.weight", "classifier.1.bias")
    assert report.replaced == ()
    assert "score32.weight" in report.missing
    assert str(report).splitlines() == [
        "weights a.pth: 312 of 320 tensors loaded",
        "  not in the file, so randomly initialised: score32 (2), upscore32 (1), score16 (2), "
        "upscore16 (1), score8 (2)",
        "  not used, unknown to this net: classifier.1 (2)",
    ]


def test_a_whole_net_of_other_classes_leaves_its_heads(imagenet: dict[str, torch.Tensor]) -> None:
    other, net = FCN(9, "mobilenet_v2", 32), FCN(5, "mobilenet_v2", 32)
    other.load_state_dict({f"backbone.{k}": v for k, v in imagenet.items()}, strict=False)
    nn.init.ones_(other.score32.weight)
    report = load_matching(net, other.state_dict(), "b.pth")
    assert report.replaced == ("score32.weight", "score32.bias")
    assert report.missing == report.unexpected == ()
    assert not net.score32.weight.any()
    assert "replaced, of another shape there: score32 (2)" in str(report)


def test_the_backbone_of_a_mask_rcnn_fills_an_fcn() -> None:
    sizes = [[16], [24], [32]]
    net, other = FCN(5, "mobilenet_v2", 8), MaskRCNN(3, backbone="mobilenet_v2", channels=32,
        box_head=64, mask_layers=1, anchor_sizes=sizes)  # fmt: skip
    report = load_matching(net, other.state_dict(), "m.pth")
    backbone = {name for name in net.state_dict() if name.startswith("backbone.")}
    assert backbone <= {*report.loaded, *report.missing}
    assert len(backbone & {*report.loaded}) > 200


def test_vggs_classifier_fills_the_convolutions() -> None:
    state = get_model("vgg11").state_dict()
    net = FCN(5, "vgg11")
    report = load_matching(net, state, "c.pth")
    assert report.unexpected == ("classifier.6.weight", "classifier.6.bias")
    fc6 = state["classifier.0.weight"].view(4096, 512, 7, 7)
    assert torch.equal(net.backbone.classifier[0].weight, fc6)


def test_another_net_altogether_is_refused(imagenet: dict[str, torch.Tensor]) -> None:
    with pytest.raises(RunError, match=r"model.weights=d.pth: of another net: not one tensor fits"):
        load_matching(nn.Conv2d(3, 3, 1), imagenet, "d.pth")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"not a zip", "refused|damaged"),
        (pickle.dumps(Evil(), protocol=2), "refused"),
        ({"a": 1}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(RunError, match=rf"model.weights=.*w.pth: .*({said})"):
        read_state(path)


def test_code_in_a_weights_file_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": Evil()}}, path)
    with pytest.raises(RunError, match="refused"):
        load_pretrained(nn.Conv2d(3, 3, 1), {"_target_": "torch.nn.Conv2d"}, str(path))


def test_default_for_a_net_that_has_none() -> None:
    node = {"_target_": "seglab.models.PaddedCNN"}
    with pytest.raises(ConfigError, match=r"model.weights=DEFAULT: torchvision has no weights for"):
        load_pretrained(nn.Conv2d(3, 3, 1), node, "DEFAULT")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve tmp_path/served over the loopback interface."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("damage", ["none", "wrong hash", "code", "absent"])
def test_default_is_torchvisions_download(
    imagenet: dict[str, torch.Tensor],
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    made = tmp_path / "made.pth"
    torch.save({"features.0.0.weight": Evil()} if damage == "code" else imagenet, made)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()[:8]
    name = f"mobilenet-{'0' * 8 if damage == 'wrong hash' else digest}.pth"
    if damage != "absent":
        made.rename(tmp_path / "served" / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    default = get_model_weights("mobilenet_v2").DEFAULT
    monkeypatch.setattr(default.value, "url", f"{server}/{name}")
    net = FCN(5, "mobilenet_v2")
    if damage == "none":
        report = load_pretrained(net, {"backbone": "mobilenet_v2"}, "DEFAULT")
        assert "MobileNet_V2_Weights" in str(report)
        assert torch.equal(net.backbone.features[0][0].weight, imagenet["features.0.0.weight"])
    else:
        with pytest.raises(RunError, match=r"model.weights=DEFAULT: .*give a local file"):
            load_pretrained(net, {"backbone": "mobilenet_v2"}, "DEFAULT")


def test_a_name_that_torchvision_does_not_know() -> None:
    with pytest.raises(ConfigError, match=r"model.weights=ResNet5_Weights.V1: torchvision has no"):
        load_pretrained(nn.Conv2d(3, 3, 1), {}, "ResNet5_Weights.V1")
