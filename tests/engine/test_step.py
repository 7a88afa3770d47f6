"""One optimizer step: by hand, in parts, with clipping and with scaled losses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from ssd.config import Config, load_config
from ssd.engine.step import StepOptions, count_positives, make_step_options, step
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from ssd.utils.errors import ConfigError
from ssd.weights.precision import in_precision, make_network

SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", 96),
    *("MODEL.PRIORS.MIN_SIZES", [16, 32, 48, 64], "MODEL.PRIORS.MAX_SIZES", [32, 48, 64, 96]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]], "MODEL.NUM_CLASSES", 4),
]

PLAIN = StepOptions()


class Line(nn.Module):
    """Losses that are linear in two weights: w0 and w1 times the sum of the images, over the number of labels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, images: Tensor, targets: Container) -> dict[str, Tensor]:
        share = images.sum() / targets["labels"].sum()
        return {"first": 3 * self.weight[0] * share, "second": 4 * self.weight[1] * share}


def take(model: nn.Module, options: StepOptions = PLAIN, *, images: list[float], labels: list[int]) -> dict:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    targets = Container(labels=torch.tensor(labels)[:, None])
    return step(model, optimizer, torch.tensor(images)[:, None, None, None], targets, options)


def test_a_step_by_hand() -> None:
    model = Line()
    losses = take(model, images=[1.0, 1.0], labels=[1, 3])  # share 1/2: gradient (1.5, 2)
    assert list(losses) == ["total_loss", "first", "second"]
    assert [loss.item() for loss in losses.values()] == [5.5, 1.5, 4.0]
    assert not any(loss.requires_grad for loss in losses.values())
    assert model.weight.tolist() == [1 - 1.5, 2 - 2.0]


@pytest.mark.parametrize(("max_norm", "norm"), [(1.0, 1.0), (10.0, 5.0), (0.0, 5.0)])
def test_clipping(max_norm: float, norm: float) -> None:
    model = Line()
    take(model, StepOptions(max_norm=max_norm), images=[1.0], labels=[1])  # gradient (3, 4)
    torch.testing.assert_close(model.weight, torch.tensor([1.0, 2.0]) - norm * torch.tensor([0.6, 0.8]))


def test_parts_count_by_their_positives() -> None:
    """Three parts with 1, 5 and 2 positives give what the whole gives: 11 / 8 of the losses for one."""
    options = StepOptions(num_parts=3, count_positives=lambda targets: targets["labels"][:, 0])
    whole, parts = Line(), Line()
    expected = take(whole, images=[1.0, 7.0, 3.0], labels=[1, 5, 2])
    losses = take(parts, options, images=[1.0, 7.0, 3.0], labels=[1, 5, 2])
    assert whole.weight.tolist() == [1 - 3 * 11 / 8, 2 - 4 * 11 / 8]
    torch.testing.assert_close(parts.weight, whole.weight)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_scaled_losses_give_the_same_step(fused: bool, max_norm: float) -> None:
    plain, scaled = Line(), Line()
    take(plain, StepOptions(max_norm=max_norm), images=[1.0], labels=[1])
    optimizer = torch.optim.SGD(scaled.parameters(), lr=1.0, fused=fused)
    options = StepOptions(scaler=GradScaler("cpu", init_scale=2.0**10), max_norm=max_norm)
    losses = step(scaled, optimizer, torch.ones(1, 1, 1, 1), Container(labels=torch.ones(1, 1)), options)
    assert losses["total_loss"] == 3 * 1 + 4 * 2
    torch.testing.assert_close(scaled.weight, plain.weight)


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_that_overflow_are_left_out(fused: bool) -> None:
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
    options = StepOptions(scaler=GradScaler("cpu", init_scale=2.0**10), max_norm=1.0)
    step(model, optimizer, torch.full((1, 1, 1, 1), torch.inf), Container(labels=torch.ones(1, 1)), options)
    assert model.weight.tolist() == [1, 2]
    assert options.scaler.get_scale() == 2.0**9


# The same of a detector.


@pytest.fixture
def make_detector() -> Callable[[], nn.Module]:
    """Build equal small detectors whose batch norms use their running statistics."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        model = build_detection_model(load_config(None, SMALL)).to(memory_format=torch.channels_last).train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return model

    return make


def batch() -> tuple[Tensor, Container]:
    """Five images, two of them without objects."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(5, 3, 2, generator=generator) * 0.6
    boxes = torch.cat([corner, corner + 0.1 + 0.3 * torch.rand(5, 3, 2, generator=generator)], dim=2)
    labels = torch.tensor([[1, 2, 3], [0, 0, 0], [2, 0, 0], [1, 3, 0], [0, 0, 0]])
    return torch.randn(5, 3, 96, 96, generator=generator), Container(boxes=boxes, labels=labels)


def gradients(
    model: nn.Module, network: nn.Module | None = None, options: StepOptions = PLAIN, layout=torch.channels_last
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses and the gradients of one step."""
    images, targets = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    losses = step(model if network is None else network, optimizer, images.to(memory_format=layout), targets, options)
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same(found: tuple, expected: tuple, *, rtol: float = 1e-4) -> None:
    """Compare losses, and gradients relative to the largest of each tensor."""
    torch.testing.assert_close(found[0], expected[0], rtol=rtol, atol=0)
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=rtol * float(gradient.abs().max()))


@pytest.mark.parametrize("num_parts", [2, 5])
def test_accumulation_equals_the_large_batch(make_detector: Callable[[], nn.Module], num_parts: int) -> None:
    model = make_detector()
    options = make_step_options(config(num_parts), model, torch.float32)
    assert_same(gradients(model, options=options), gradients(make_detector()))


def test_clipping_sees_the_gradient_of_all_parts(make_detector: Callable[[], nn.Module]) -> None:
    model = make_detector()
    options = make_step_options(config(2, "SOLVER.GRAD_CLIP", 0.5), model, torch.float32)
    _, clipped = gradients(model, options=options)
    norm = torch.stack([gradient.norm() for gradient in clipped.values()]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-4)


def config(num_parts: int, *overrides: object) -> Config:
    return load_config(None, ["SOLVER.MICRO_BATCHES", num_parts, "SOLVER.BATCH_SIZE", 5, *overrides])


def test_positives_are_those_of_the_loss(make_detector: Callable[[], nn.Module]) -> None:
    """An image without objects counts as one positive; every object has a prior at least."""
    counts = count_positives(make_detector(), batch()[1])
    assert counts[[1, 4]].tolist() == [1, 1]
    assert (counts[[0, 2, 3]] >= torch.tensor([3, 1, 2])).all()


def test_mistakes() -> None:
    detector = nn.Module()
    detector.box_head = nn.Identity()
    with pytest.raises(
        ConfigError, match=r"SOLVER\.MICRO_BATCHES 5 weights parts by their positives.*; Identity has none"
    ):
        make_step_options(config(5), detector, torch.float32)
    with pytest.raises(ConfigError, match=r"SOLVER\.MICRO_BATCHES is 6, but a batch of 5 images \(SOLVER\.BATCH_SIZE"):
        make_step_options(config(6), Line(), torch.float32)


def test_bfloat16_is_close_to_float32(make_detector: Callable[[], nn.Module]) -> None:
    model = make_detector()
    losses, grads = gradients(model, in_precision(model, "cpu", torch.bfloat16))
    exact = gradients(make_detector())
    assert {value.dtype for value in [*losses.values(), *grads.values()]} == {torch.float32}
    torch.testing.assert_close(losses, exact[0], rtol=0.02, atol=0)
    assert losses["total_loss"] != exact[0]["total_loss"]
    found, expected = (torch.cat([gradient.flatten() for gradient in part.values()]) for part in (grads, exact[1]))
    assert torch.linalg.vector_norm(found - expected) < 0.05 * torch.linalg.vector_norm(expected)


def test_channels_last_equals_contiguous(make_detector: Callable[[], nn.Module]) -> None:
    plain = make_detector().to(memory_format=torch.contiguous_format)
    assert_same(gradients(make_detector()), gradients(plain, layout=torch.contiguous_format))


def test_compiled_equals_eager(make_detector: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compile_with(module, backend="aot_eager"))
    model = make_detector()
    network = make_network(load_config(None, ["SOLVER.COMPILE", True]), model, torch.float32)
    assert network is not model
    assert_same(gradients(model, network), gradients(make_detector()))
    assert list(model.state_dict()) == list(make_detector().state_dict())
