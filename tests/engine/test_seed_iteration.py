import torch
from torch import nn

from ssd.engine.determinism import seed_iteration


def draw(seed: int, iteration: int, rank: int = 0) -> list[float]:
    seed_iteration(seed, iteration, rank)
    return nn.functional.dropout(torch.ones(64)).tolist()


def test_draws_are_a_function_of_the_arguments() -> None:
    first = draw(1, 2, 3)
    torch.rand(1000)
    assert draw(1, 2, 3) == first


def test_draws_differ_in_each_argument() -> None:
    draws = [
        draw(*arguments) for arguments in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (2**40, 10**9, 7))
    ]
    assert len({tuple(values) for values in draws}) == len(draws)
