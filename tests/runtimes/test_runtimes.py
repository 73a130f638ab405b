"""What every runtime must do, at every precision that is here."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from claid_ext import Detector, RegionDescriptor  # noqa: E402
from claid_ext.backbones import load_backbone, runtimes  # noqa: E402
from claid_ext.backbones.runtimes import converted  # noqa: E402
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.errors import RuntimeUnavailableError  # noqa: E402


class Kind(NamedTuple):
    runtime: str
    precision: str
    close: float  # to torch's float32, relative to its largest value


KINDS = [Kind("torch", "float32", 1e-6), Kind("openvino", "float32", 1e-4)]
if runtimes.bfloat16_flag() is not None:
    KINDS += [Kind("torch", "bfloat16", 0.05), Kind("openvino", "bfloat16", 0.05)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind.runtime}-{kind.precision}")
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    if found.runtime == "openvino":
        pytest.importorskip("openvino")
    return found


def _conv(module: Any, kind: Kind) -> ConvNetwork:
    class Maps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, batch: Any) -> Any:
            return self.module.forward_intermediates(
                batch, indices=[2, 4], intermediates_only=True, output_fmt="NCHW"
            )

    return ConvNetwork(Maps(), name="n", device="cpu", running=kind[:2], convertible=True)


def _noise(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _is_close(got: Any, wanted: Any, kind: Kind) -> bool:
    assert got.dtype == torch.float32
    assert got.device.type == "cpu"
    assert got.shape == wanted.shape
    return bool((got - wanted).abs().max() <= kind.close * wanted.abs().max())


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_small_patch16_rope_mixed_224",
    ],
)
def test_tokens_at_any_grid(name: str, kind: Kind, vit: Callable[..., Any]) -> None:
    module = vit(name)
    backbone = load_backbone(module, device="cpu", runtime=kind.runtime, precision=kind.precision)
    assert backbone.runner.choice == kind[:2]
    side = backbone.patch_size
    for batch, rows, columns in ((1, 3, 5), (2, 14, 14), (3, 7, 2)):
        pixels = _noise(batch, 3, rows * side, columns * side)
        with torch.inference_mode():
            wanted = module.forward_features(pixels)[:, module.num_prefix_tokens :]
        assert _is_close(backbone.features(pixels), wanted, kind)


def test_tokens_are_those_of_the_block_that_is_asked_for(
    kind: Kind, vit: Callable[..., Any]
) -> None:
    module = vit()
    from claid_ext.backbones.vit import vit_network

    network = vit_network(module, 1)
    pixels = _noise(1, 3, 32, 48)
    with torch.inference_mode():
        (wanted,) = module.forward_intermediates(
            pixels, indices=[0], norm=True, output_fmt="NLC", intermediates_only=True
        )
        (tokens,) = network.head(pixels)
        assert torch.allclose(network.body(tokens), wanted, atol=1e-5)
    if kind.runtime == "openvino":
        runner = runtimes.make_runner(runtimes.Choice(*kind[:2]), module, network, "cpu")
        assert _is_close(runner(pixels), wanted, kind)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_maps_at_any_size(name: str, kind: Kind, network: Callable[..., Any]) -> None:
    module = network(name)
    ours = _conv(module, kind)
    for batch, height, width in ((1, 32, 32), (2, 96, 64), (1, 64, 160)):
        pixels = _noise(batch, 3, height, width)
        with torch.inference_mode():
            wanted = module.forward_intermediates(
                pixels, indices=[2, 4], intermediates_only=True, output_fmt="NCHW"
            )
        got = ours.forward(pixels)
        assert len(got) == 2
        assert all(_is_close(one, its, kind) for one, its in zip(got, wanted, strict=True))


def test_many_threads_at_once_get_their_own_answers(kind: Kind, vit: Callable[..., Any]) -> None:
    backbone = load_backbone(vit(), device="cpu", runtime=kind.runtime, precision=kind.precision)
    inputs = [_noise(1, 3, 16 * (2 + n % 3), 48) + n for n in range(12)]
    alone = [backbone.features(one) for one in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backbone.features, inputs))
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_what_is_given_stays_as_it_was_when_the_next_is_made(
    kind: Kind, vit: Callable[..., Any]
) -> None:
    backbone = load_backbone(vit(), device="cpu", runtime=kind.runtime, precision=kind.precision)
    first = backbone.features(_noise(1, 3, 32, 48))
    kept = first.clone()
    backbone.features(_noise(1, 3, 32, 48) + 1)
    assert torch.equal(first, kept)


def test_a_network_goes_to_another_process(kind: Kind, network: Callable[..., Any]) -> None:
    module = network("test_resnet")
    ours = ConvNetwork(module.conv1, name="n", device="cpu", running=kind[:2], convertible=True)
    pixels = _noise(1, 3, 32, 64)
    wanted = ours.forward(pixels)[0]
    other = pickle.loads(pickle.dumps(ours))
    assert other.runner.choice == kind[:2]
    assert torch.equal(other.forward(pixels)[0], wanted)


def test_detections_and_vectors_name_what_ran_them(
    kind: Kind, vit: Callable[..., Any], pictures: list[Any]
) -> None:
    named = {"runtime": kind.runtime, "precision": kind.precision}
    detector = Detector(vit(), device="cpu", tau=0.5, min_patches=2, **named)
    assert len(detector(pictures[:3])) == 3
    descriptor = RegionDescriptor(detector.backbone, pooling="mean")
    assert named.items() <= descriptor.manifest().items()
    from claid_ext.regions import DetectedRegions

    assert named.items() <= DetectedRegions(detector).manifest().items()
    assert ", ".join(kind[:2]) in repr(detector)


def test_a_callable_or_a_module_of_your_own_is_run_by_torch() -> None:
    module = torch.nn.Conv2d(3, 4, 16, stride=16)
    for one in (load_backbone(module, patch_size=16, runtime="auto"), RegionDescriptor(module)):
        runner = one.runner if hasattr(one, "runner") else one.network.runner
        assert runner.choice == ("torch", "float32")
    pytest.importorskip("openvino")
    with pytest.raises(ValueError, match='runtime="torch"'):
        load_backbone(module, patch_size=16, device="cpu", runtime="openvino")
    with pytest.raises(ValueError, match='runtime="torch"'):
        RegionDescriptor(module, device="cpu", runtime="openvino")


def test_a_backbone_keeps_its_runtime(vit: Callable[..., Any]) -> None:
    backbone = load_backbone(vit(), device="cpu")
    assert Detector(backbone).backbone is backbone
    assert Detector(backbone, runtime="torch", precision="float32").backbone is backbone
    with pytest.raises(ValueError, match="runtime is already fixed in a Backbone: torch"):
        Detector(backbone, runtime="openvino")
    with pytest.raises(ValueError, match="precision is already fixed in a Backbone: float32"):
        RegionDescriptor(backbone, precision="bfloat16")


class _Frozen(torch.nn.Module):
    """Gives something else for another size once its trace has kept the first one's."""

    def forward(self, batch: Any) -> Any:
        return batch * float(batch.shape[3])


def test_a_network_that_its_conversion_would_freeze_is_refused(no_cache: Any) -> None:
    pytest.importorskip("openvino")
    network = ConvNetwork(
        _Frozen(), name="n", device="cpu", running=("openvino", "float32"), convertible=True
    )
    with pytest.raises(RuntimeUnavailableError, match="something else at other sizes"):
        network.forward(_noise(1, 3, 32, 32))


def test_what_was_converted_is_kept_and_made_again_where_it_is_damaged(
    no_cache: Any, vit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    pixels = _noise(1, 3, 32, 48)
    conversions = []
    convert = converted._convert
    monkeypatch.setattr(converted, "_convert", lambda one: conversions.append(1) or convert(one))

    def features() -> Any:
        made = load_backbone(vit(), device="cpu", runtime="openvino", precision="float32")
        return made.features(pixels)

    wanted = features()
    assert torch.equal(features(), wanted)
    assert len(conversions) == 1
    (folder,) = no_cache.iterdir()
    (folder / "model.xml").write_text("<net")
    assert torch.equal(features(), wanted)
    assert len(conversions) == 2
    assert torch.equal(features(), wanted)
    assert len(conversions) == 2, "the damaged one was replaced"


def test_a_cache_that_cannot_be_written_to_costs_only_time(
    tmp_path: Any, vit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLAID_CACHE", str(tmp_path / "file"))
    backbone = load_backbone(vit(), device="cpu", runtime="openvino", precision="float32")
    assert backbone.features(_noise(1, 3, 32, 48)).shape == (1, 6, 48)
