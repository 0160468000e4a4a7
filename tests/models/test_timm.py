"""timm's nets as backbones: its own maps, names, mean, weights."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from seglab.config.compose import compose
from seglab.errors import ConfigError, RunError
from seglab.instantiate import build
from seglab.models import FCN, MaskRCNN, PadToMultiple, backbones
from seglab.models.backbones import Backbone, TimmBackbone, build_backbone, mean_and_std
from seglab.models.channels import with_channels
from seglab.models.weights import load_matching, load_pretrained
from seglab.schema import ModelConfig, TrainConfig
from seglab.tasks.parameters import freeze_norms

NETS = ["test_efficientnet", "test_resnet", "test_convnext", "tf_efficientnet_lite0", "vgg11"]
LITE = "timm/test_efficientnet"


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "find_spec", lambda name: None)
    node = {"_target_": "seglab.models.FCN", "num_classes": 2, "backbone": LITE}
    with pytest.raises(ConfigError, match=rf"model\.net: backbone={LITE}: .*'seglab\[timm\]'"):
        build(node, "model.net")


@pytest.mark.parametrize("name", NETS)
def test_maps_are_timms_own(name: str) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(name, features_only=True).eval()
    ours = build_backbone(f"timm/{name}", strides=(8, 16, 32)).eval()
    assert isinstance(ours, TimmBackbone)
    # timm flattens some names in this form, but never changes their order.
    ours.net.load_state_dict(
        dict(zip(ours.net.state_dict(), plain.state_dict().values(), strict=True))
    )
    image = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        maps = dict(zip(plain.feature_info.reduction(), plain(image), strict=True))
        for stride, width, own in zip((8, 16, 32), ours.channels, ours(image), strict=True):
            assert torch.equal(own, maps[stride])
            assert own.shape == (2, width, 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", NETS)
def test_names_are_those_of_the_whole_net(name: str) -> None:
    whole = timm.create_model(name).state_dict()
    net = FCN(5, f"timm/{name}")
    report = load_matching(net, whole, "a file")
    assert {f"backbone.net.{key}" for key in whole} >= {*report.loaded}
    assert [key for key in report.missing if key.startswith("backbone.")] == []
    assert torch.equal(net.state_dict()[report.loaded[0]], whole[next(iter(whole))])


def test_a_safetensors_file_fills_a_mask_rcnn(tmp_path: Path) -> None:
    path = tmp_path / "lite.safetensors"
    whole = timm.create_model("test_efficientnet").state_dict()
    save_file(whole, path)
    net = MaskRCNN(5, LITE)
    report = load_pretrained(net, {"backbone": LITE}, str(path))
    body = {key for key in net.state_dict() if key.startswith("backbone.body.net.")}
    assert {*report.loaded} == body


def test_a_trained_fcn_fills_a_mask_rcnn() -> None:
    fcn, net = FCN(5, LITE), MaskRCNN(5, LITE)
    report = load_matching(net, fcn.state_dict(), "a file")
    assert {*report.loaded} == {key for key in net.state_dict() if ".body.net." in key}
    first = "net.conv_stem.weight"
    own = net.state_dict()[f"backbone.body.{first}"]
    assert torch.equal(own, fcn.state_dict()[f"backbone.{first}"])


def test_a_damaged_safetensors_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\x00" * 50)
    with pytest.raises(RunError, match=r"w\.safetensors: damaged, or no weights"):
        load_pretrained(FCN(5, LITE), {"backbone": LITE}, str(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("timm/efficientnet_lite00", "no such net in timm; nearest: efficientnet_lite0"),
        ("timm/hf-hub:someone/net", "no such net in timm"),
        ("timm/local-dir:/tmp", "no such net in timm"),
        ("timm/vit_tiny_patch16_224", "no feature map at stride 8; it has 16"),
        ("timm/mlp_mixer", "no such net"),
        ("efficientnet_lite0", "no such net in torchvision; nearest: efficientnet_b0"),
    ],
)
def test_an_unusable_net_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build_backbone(name)


def test_a_frozen_norm_and_another_number_of_channels() -> None:
    net = with_channels(FCN(5, LITE), 5)
    norms = freeze_norms(net)
    assert len(norms) > 10
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    with torch.inference_mode():
        assert net.eval()(torch.zeros(1, 5, 33, 50)).shape == (1, 5, 33, 50)


def model(*overrides: str) -> ModelConfig:
    return compose("train", TrainConfig, ["model=fcn8s", *overrides]).config.model


def test_mean_and_std_are_the_backbones_own_unless_given() -> None:
    of = mean_and_std
    assert of(model()) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    lite = "model.net.backbone=timm/tf_efficientnet_lite0"
    assert of(model(lite)) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert of(model(lite, "model.std=[1,1,1]")) == ((0.5, 0.5, 0.5), [1, 1, 1])


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub of one file, whose content is the server's attribute."""

    def do_GET(self) -> None:
        name, content = self.server.served  # type: ignore[attr-defined]
        if self.path != f"/timm/{name}/resolve/main/model.safetensors":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nn.Module]:
    """Serve the weights of a net over the loopback interface as a hub does."""
    import huggingface_hub.constants

    net = timm.create_model("test_efficientnet")
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.served = "test_efficientnet.r160_in1k", (tmp_path / "w.safetensors").read_bytes()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(
            huggingface_hub.constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield net
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("weights", ["DEFAULT", "timm/test_efficientnet.r160_in1k"])
def test_published_weights_are_downloaded(hub: nn.Module, weights: str) -> None:
    net = FCN(5, LITE)
    before = torch.get_rng_state()
    report = load_pretrained(net, {"backbone": LITE}, weights)
    assert torch.equal(torch.get_rng_state(), before)
    stem = net.state_dict()["backbone.net.conv_stem.weight"]
    assert torch.equal(stem, hub.state_dict()["conv_stem.weight"])
    assert "backbone.net.conv_stem.weight" in report.loaded


def test_weights_that_cannot_be_had(hub: nn.Module) -> None:
    backbone = "timm/test_resnet"
    with pytest.raises(
        RunError, match=r"=DEFAULT: timm/test_resnet cannot be downloaded .*model.weights="
    ):
        load_pretrained(FCN(5, backbone), {"backbone": backbone}, "DEFAULT")


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (
            "timm/resnet50.mine",
            r"timm has no weights resnet50\.mine; it has timm/resnet50\.a1_in1k",
        ),
        ("timm/none_such", "timm has no weights none_such; it has none of that net"),
    ],
)
def test_unknown_weights(weights: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load_pretrained(FCN(5, LITE), {"backbone": LITE}, weights)


def test_torchvisions_stay_torchvisions() -> None:
    assert isinstance(build_backbone("resnet18"), Backbone)


def test_a_decoder_of_another_library_takes_timms_weights_and_any_size() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is missing")
    net = PadToMultiple(
        smp.DeepLabV3Plus("tu-tf_efficientnet_lite0", encoder_weights=None, classes=5)
    )
    whole = timm.create_model("tf_efficientnet_lite0").state_dict()
    report = load_matching(net, whole, "a file")
    assert {*report.loaded} == {key for key in net.state_dict() if ".encoder." in key}
    net.eval()
    image = torch.randn(1, 3, 70, 101)
    with torch.inference_mode():
        logits = net(image)
        assert logits.shape == (1, 5, 70, 101)
        padded = torch.zeros(1, 3, 96, 128)
        padded[..., :70, :101] = image
        assert torch.equal(logits, net.net(padded)[..., :70, :101])
