"""One optimizer step: by hand, in parts, with clipping and with scaled losses."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from ssd.config import Config, load_config
from ssd.engine.finite import FiniteGuard
from ssd.engine.make import make_step
from ssd.engine.step import Step, TrainingNetwork
from ssd.modeling.box_head import LossSums
from ssd.modeling.box_head.box_predictor import class_scores
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container
from ssd.structures.boxes import best_candidates, center_to_corner
from ssd.utils.errors import ConfigError
from tests.tiny import steady_detector, tiny_batch

MICRO_BATCHES = "SOLVER.MICRO_BATCHES"


class Line(nn.Module):
    """Losses that are linear in two weights: w0 and w1 times the sum of the images; labels are numbers of positives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, images: Tensor, targets: Container) -> LossSums:
        sums = {"first": 3 * self.weight[0] * images.sum(), "second": 4 * self.weight[1] * images.sum()}
        return LossSums(sums, targets["labels"][:, 0])


def take(step: Step, images: list[float], labels: list[int]) -> dict[str, Tensor]:
    targets = Container(labels=torch.tensor(labels)[:, None])
    losses = step.forward_backward(torch.tensor(images)[:, None, None, None], targets)
    step.update(losses)
    return losses


def step_of(model: nn.Module, *, fused: bool = False, **options: object) -> Step:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
    return Step(model, optimizer, FiniteGuard(model, 0), **options)


def test_a_step_by_hand() -> None:
    model = Line()
    losses = take(step_of(model), images=[1.0, 1.0], labels=[1, 3])  # 2 of 4 positives: gradient (1.5, 2)
    assert list(losses) == ["total_loss", "first", "second"]
    assert [loss.item() for loss in losses.values()] == [5.5, 1.5, 4.0]
    assert not any(loss.requires_grad for loss in losses.values())
    assert model.weight.tolist() == [1 - 1.5, 2 - 2.0]


@pytest.mark.parametrize(("max_norm", "norm"), [(1.0, 1.0), (10.0, 5.0), (0.0, 5.0)])
def test_clipping(max_norm: float, norm: float) -> None:
    model = Line()
    take(step_of(model, max_norm=max_norm), images=[1.0], labels=[1])  # gradient (3, 4)
    torch.testing.assert_close(model.weight, torch.tensor([1.0, 2.0]) - norm * torch.tensor([0.6, 0.8]))


def test_parts_count_by_their_positives() -> None:
    """Three parts with 1, 5 and 2 positives give the step of the whole: 11 / 8 of the losses for one."""
    whole, parts = Line(), Line()
    expected = take(step_of(whole), images=[1.0, 7.0, 3.0], labels=[1, 5, 2])
    losses = take(step_of(parts, micro_batches=3), images=[1.0, 7.0, 3.0], labels=[1, 5, 2])
    assert whole.weight.tolist() == [1 - 3 * 11 / 8, 2 - 4 * 11 / 8]
    torch.testing.assert_close(parts.weight, whole.weight)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_scaled_losses_give_the_same_step(fused: bool, max_norm: float, micro_batches: int) -> None:
    plain, scaled = Line(), Line()
    options = {"max_norm": max_norm, "micro_batches": micro_batches}
    take(step_of(plain, **options), images=[1.0, 2.0], labels=[1, 2])
    scaler = GradScaler("cpu", init_scale=2.0**10)
    losses = take(step_of(scaled, fused=fused, scaler=scaler, **options), images=[1.0, 2.0], labels=[1, 2])
    torch.testing.assert_close(losses["total_loss"], torch.tensor(3.0 * 1 + 4 * 2))
    torch.testing.assert_close(scaled.weight, plain.weight)


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_that_overflow_are_skipped(fused: bool) -> None:
    model, scaler = Line(), GradScaler("cpu", init_scale=2.0**10)
    take(step_of(model, fused=fused, scaler=scaler, max_norm=1.0), images=[torch.inf], labels=[1])
    assert model.weight.tolist() == [1, 2]
    assert scaler.get_scale() == 2.0**9


def gradients(detector: SSDDetector, *overrides, dtype=torch.float32, layout=torch.channels_last) -> tuple[dict, dict]:
    """Return the losses and the gradients of one step."""
    detector = detector.to(memory_format=layout)
    images, targets = tiny_batch()
    step = make_step(config(*overrides), detector, torch.optim.SGD(detector.parameters(), lr=0.0), dtype)
    losses = step.forward_backward(images.to(memory_format=layout), targets)
    step.update(losses)
    return losses, {name: parameter.grad for name, parameter in detector.named_parameters()}


def config(*overrides: object) -> Config:
    return load_config(None, ["SOLVER.BATCH_SIZE", 6, *overrides])


def assert_same(found: tuple, expected: tuple, *, rtol: float = 1e-4) -> None:
    """Compare losses, and gradients relative to the largest of each tensor."""
    torch.testing.assert_close(found[0], expected[0], rtol=rtol, atol=0)
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=rtol * float(gradient.abs().max()))


def test_the_losses_are_those_of_the_detector() -> None:
    losses, _ = gradients(steady_detector())
    expected = steady_detector()(*tiny_batch())
    torch.testing.assert_close({name: losses[name] for name in expected}, expected)


@pytest.mark.parametrize("micro_batches", [2, 6])
def test_accumulation_equals_the_large_batch(micro_batches: int) -> None:
    assert_same(gradients(steady_detector(), MICRO_BATCHES, micro_batches), gradients(steady_detector()))


def test_clipping_sees_the_gradient_of_all_parts() -> None:
    _, clipped = gradients(steady_detector(), MICRO_BATCHES, 2, "SOLVER.GRAD_CLIP", 0.5)
    norm = torch.stack([gradient.norm() for gradient in clipped.values()]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-4)


def test_more_parts_than_images() -> None:
    with pytest.raises(ConfigError, match=re.escape(MICRO_BATCHES)):
        make_step(config(MICRO_BATCHES, 7), nn.Identity(), torch.optim.SGD([torch.zeros(1)]), torch.float32)


def test_bfloat16_is_close_to_float32() -> None:
    losses, grads = gradients(steady_detector(), dtype=torch.bfloat16)
    exact = gradients(steady_detector())
    sums = TrainingNetwork(steady_detector(), torch.bfloat16)(*tiny_batch()).sums
    assert {value.dtype for value in [*losses.values(), *grads.values(), *sums.values()]} == {torch.float32}
    torch.testing.assert_close(losses, exact[0], rtol=0.02, atol=0)
    assert losses["total_loss"] != exact[0]["total_loss"]
    found, expected = (torch.cat([gradient.flatten() for gradient in part.values()]) for part in (grads, exact[1]))
    assert torch.linalg.vector_norm(found - expected) < 0.05 * torch.linalg.vector_norm(expected)


def test_channels_last_equals_contiguous() -> None:
    assert_same(gradients(steady_detector()), gradients(steady_detector(), layout=torch.contiguous_format))


def test_compiled_equals_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **_: compile_with(module, backend="aot_eager", fullgraph=True))
    detector = steady_detector()
    assert_same(gradients(detector, "SOLVER.COMPILE", True), gradients(steady_detector()))
    assert list(detector.state_dict()) == list(steady_detector().state_dict())


@pytest.mark.gpu
@pytest.mark.parametrize("mode", [True, "reduce-overhead"])
def test_compiled_equals_eager_on_a_gpu(mode: bool | str) -> None:
    images, targets = (part.to("cuda") for part in tiny_batch())

    def train(*overrides: object) -> tuple[dict, dict]:
        detector = steady_detector().to("cuda", memory_format=torch.channels_last)
        step = make_step(config(*overrides), detector, torch.optim.SGD(detector.parameters(), lr=0.01), torch.float32)
        for _ in range(4):  # a CUDA graph is replayed from the third
            losses = step.forward_backward(images, targets)
            step.update(losses)
        return losses, {name: parameter.grad for name, parameter in detector.named_parameters()}

    assert_same(train("SOLVER.COMPILE", mode), train(), rtol=1e-2)


def test_cuda_graphs_need_whole_batches() -> None:
    with pytest.raises(ConfigError, match=re.escape(MICRO_BATCHES)):
        gradients(steady_detector(), MICRO_BATCHES, 2, "SOLVER.COMPILE", "reduce-overhead")


@torch.no_grad()
def test_detection_up_to_nms_is_one_graph() -> None:
    detector = steady_detector().eval()
    head, images = detector.box_head, tiny_batch()[0]

    def candidates(images: Tensor) -> tuple[Tensor, ...]:
        predictions = detector.predict(images)
        boxes = center_to_corner(head.box_coder.decode(predictions.bbox_pred, head.priors))
        scores = class_scores(predictions.cls_logits, head.score_function)
        return head.post_processor.to_pixels(boxes), *best_candidates(scores, 50)

    compiled = torch.compile(candidates, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), candidates(images))
