"""A network of linear layers."""

from torch import Tensor, nn


class Net(nn.Module):
    """A body and one classification header, with names like those of the detector."""

    def __init__(self, num_classes: int = 3, num_body: int = 1):
        super().__init__()
        self.body = nn.Sequential(*[nn.Linear(4, 4) for _ in range(num_body)])
        self.predictor = nn.Module()
        self.predictor.cls_headers = nn.ModuleList([nn.Linear(4, num_classes)])

    def forward(self, x: Tensor) -> Tensor:
        return self.predictor.cls_headers[0](self.body(x))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy the weights of a model."""
    return {name: value.clone() for name, value in model.state_dict().items()}
