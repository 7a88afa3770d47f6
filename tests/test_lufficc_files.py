"""Files of lufficc/SSD: its seven configs, written as it writes them, and checkpoints in both directions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.modeling.detector import build_detection_model
from ssd.solver import make_lr_scheduler, make_optimizer
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.checkpoint_file import read_checkpoint
from tests.weights.formats import peers

CONFIGS = Path(__file__).parents[1] / "configs"

# NUM_CLASSES, TRAIN, TEST
DATA = {
    "voc": (21, '("voc_2007_trainval", "voc_2012_trainval")', '("voc_2007_test", )'),
    "coco": (81, '("coco_2014_train", "coco_2014_valminusminival")', '("coco_2014_minival", )'),
}
MOBILENET_V2 = {"NAME": "'mobilenet_v2'", "OUT_CHANNELS": (96, 1280, 512, 256, 256, 64)}
MOBILENET_V3 = {"NAME": "'mobilenet_v3'", "OUT_CHANNELS": (112, 960, 512, 256, 256, 64)}
EFFICIENT_NET = {"NAME": "'efficient_net-b3'", "OUT_CHANNELS": (48, 136, 384, 256, 256, 256)}


def priors(maps: list, strides: list, sizes: list, ratios: list) -> dict[str, list]:
    """The group PRIORS; the size of each level is the largest of the one before."""
    levels = {"FEATURE_MAPS": maps, "STRIDES": strides, "MIN_SIZES": sizes[:-1], "MAX_SIZES": sizes[1:]}
    return {**levels, "ASPECT_RATIOS": ratios, "BOXES_PER_LOCATION": [2 + 2 * len(level) for level in ratios]}


SIZES_300_COCO = [21, 45, 99, 153, 207, 261, 315]
SIZES_320 = [60, 105, 150, 195, 240, 285, 330]
SIZES_512_COCO = [20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72]
SIZES_512_VOC = [35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.65]
RATIOS_300 = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
LEVELS_512 = [64, 32, 16, 8, 4, 2, 1], [8, 16, 32, 64, 128, 256, 512]

COCO_300 = {"PRIORS": priors([38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300], SIZES_300_COCO, RATIOS_300)}
SSDLITE = {
    "BOX_HEAD": {"PREDICTOR": "'SSDLiteBoxPredictor'"},
    "PRIORS": priors([20, 10, 5, 3, 2, 1], [16, 32, 64, 107, 160, 320], SIZES_320, [[2, 3]] * 6),
}
VOC_512, COCO_512 = (
    {
        "BACKBONE": {"OUT_CHANNELS": (512, 1024, 512, 256, 256, 256, 256)},
        "PRIORS": priors(*LEVELS_512, sizes, [[2], *[[2, 3]] * 4, [2], [2]]),
    }
    for sizes in (SIZES_512_VOC, SIZES_512_COCO)
)
# Data, IMAGE_SIZE, MAX_ITER, LR_STEPS, BATCH_SIZE, groups of MODEL; the rest those files leave to the defaults.
OLD_CONFIGS: dict[str, tuple[str, int, int, list[int], int, dict[str, dict[str, Any]]]] = {
    "vgg_ssd300_voc0712": ("voc", 300, 120000, [80000, 100000], 32, {}),
    "vgg_ssd512_voc0712": ("voc", 512, 120000, [80000, 100000], 24, VOC_512),
    "vgg_ssd300_coco_trainval35k": ("coco", 300, 400000, [280000, 360000], 32, COCO_300),
    "vgg_ssd512_coco_trainval35k": ("coco", 512, 520000, [360000, 480000], 24, COCO_512),
    "mobilenet_v2_ssd320_voc0712": ("voc", 320, 120000, [80000, 100000], 32, {"BACKBONE": MOBILENET_V2, **SSDLITE}),
    "mobilenet_v3_ssd320_voc0712": ("voc", 320, 120000, [80000, 100000], 32, {"BACKBONE": MOBILENET_V3, **SSDLITE}),
    "efficient_net_b3_ssd300_voc0712": ("voc", 300, 160000, [105000, 135000], 24, {"BACKBONE": EFFICIENT_NET}),
}
# Their checkpoints are tried; those of the other three differ from the first in classes and extra layers only.
TRIED = [name for name in OLD_CONFIGS if name == "vgg_ssd300_voc0712" or not name.startswith("vgg")]
ITERATION = 110000


def build(name: str, folder: Path) -> tuple[Config, nn.Module]:
    """Write the config of lufficc/SSD, and build what it describes."""
    data, image_size, max_iter, lr_steps, batch_size, groups = OLD_CONFIGS[name]
    num_classes, train, test = DATA[data]
    lines = ["MODEL:", f"  NUM_CLASSES: {num_classes}"]
    for group, values in groups.items():
        lines += [f"  {group}:", *(f"    {key}: {value}" for key, value in values.items())]
    lines += ["INPUT:", f"  IMAGE_SIZE: {image_size}", "DATASETS:", f"  TRAIN: {train}", f"  TEST: {test}"]
    lines += ["SOLVER:", f"  MAX_ITER: {max_iter}", f"  LR_STEPS: {lr_steps}", "  GAMMA: 0.1"]
    lines += [f"  BATCH_SIZE: {batch_size}", "  LR: 1e-3", "", f"OUTPUT_DIR: 'outputs/{name}'"]
    path = folder / f"{name}.yaml"
    path.write_text("\n".join(lines))
    config = load_config(path)
    return config, build_detection_model(config, pretrained=False)


def read_listing(name: str) -> dict[str, Any]:
    return peers.read_listing(f"lufficc_{name}")


def layout(weights: dict[str, Tensor]) -> list[tuple[str, dict[str, Any]]]:
    """Names, shapes and types, in order, as the listings have them."""
    return [
        (name, {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")})
        for name, value in weights.items()
    ]


@pytest.mark.parametrize("name", OLD_CONFIGS)
def test_old_configs_build_what_they_built(name: str, tmp_path: Path) -> None:
    """So do the shipped ones."""
    config, model = build(name, tmp_path)
    shipped, listing = load_config(CONFIGS / f"{name}.yaml"), read_listing(name)
    expected = torch.from_numpy(np.load(peers.GOLDENS / "lufficc" / f"priors_{name}.npz")["priors"])
    for network in (model, build_detection_model(shipped, pretrained=False)):
        assert layout(network.state_dict()) == list(listing["state_dict"].items())
        assert sum(p.numel() for p in network.parameters()) == listing["info"]["num_parameters"]
        assert torch.equal(network.box_head.priors, expected)
    for group in ("INPUT", "DATASETS", "SOLVER", "TEST", "OUTPUT_DIR"):
        assert config[group] == shipped[group]


def old_checkpoint(listing: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint as lufficc/SSD writes it: random weights; the momentum of a parameter is its number."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.rand(entry["shape"], generator=generator).mul(1000).to(getattr(torch, entry["dtype"]))
        for name, entry in listing["state_dict"].items()
    }
    momenta = {
        140_000_000_000_000 + number: torch.full(weights[name].shape, float(number))  # torch wrote addresses then
        for number, name in enumerate(listing["parameters"])
    }
    group = {"lr": 1e-4, "momentum": 0.9, "dampening": 0, "weight_decay": 5e-4, "nesterov": False}
    return {
        "model": weights,
        "optimizer": {
            "state": {address: {"momentum_buffer": momentum} for address, momentum in momenta.items()},
            "param_groups": [{**group, "params": list(momenta)}],
        },
        "scheduler": {
            **{"milestones": [80000, 100000], "gamma": 0.1, "warmup_factor": 1 / 3, "warmup_iters": 500},
            **{"base_lrs": [1e-3], "last_epoch": ITERATION, "_step_count": ITERATION + 1, "_last_lr": [1e-5]},
        },
        "iteration": ITERATION,
    }


@pytest.mark.parametrize("name", TRIED)
def test_old_checkpoints_load_strictly(name: str, tmp_path: Path) -> None:
    config, model = build(name, tmp_path)
    checkpoint = old_checkpoint(read_listing(name))
    weights, path = checkpoint["model"], tmp_path / "old.pth"
    torch.save(checkpoint, path)
    optimizer = make_optimizer(config, model)
    scheduler = make_lr_scheduler(config, optimizer)
    assert Checkpointer(model, optimizer, scheduler).restore(read_checkpoint(path), "old.pth") == {
        "iteration": ITERATION
    }
    assert_weights(model, weights)
    steps_down = sum(step <= ITERATION for step in config.SOLVER.LR_STEPS)
    assert scheduler.get_last_lr() == pytest.approx([1e-3 * 0.1**steps_down])
    for number, parameter in enumerate(model.parameters()):
        assert optimizer.state[parameter]["momentum_buffer"].eq(number).all()

    # Without a container, and with the prefix of DataParallel.
    for state in (weights, {"model": {f"module.{key}": value for key, value in weights.items()}}):
        torch.save(state, path)
        for value in model.state_dict().values():
            value.zero_()
        assert Checkpointer(model).restore(read_checkpoint(path), "old.pth") == {}
        assert_weights(model, weights)
        model.load_state_dict(read_checkpoint(path)["model"])
    path.unlink()  # up to 210 MB, and pytest keeps its folders


def assert_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    ours = model.state_dict()
    assert list(ours) == list(weights)
    assert all(torch.equal(value, weights[name]) for name, value in ours.items())


@pytest.mark.parametrize("name", TRIED)
def test_our_checkpoints_have_the_old_layout(name: str, tmp_path: Path) -> None:
    config, model = build(name, tmp_path)
    optimizer = make_optimizer(config, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    checkpointer = Checkpointer(model, optimizer, make_lr_scheduler(config, optimizer), tmp_path)
    checkpointer.extra = {"class_names": ["__background__"], "config": config.dump(), "best_metric": None}
    checkpointer.save("model_final", iteration=1)

    ours = torch.load(tmp_path / "model_final.pth", weights_only=True)
    (tmp_path / "model_final.pth").unlink()
    theirs = old_checkpoint(read_listing(name))
    assert ours.keys() - checkpointer.extra.keys() == theirs.keys()
    assert layout(ours["model"]) == layout(theirs["model"])
    shapes = []
    for optimizer_state in (ours["optimizer"], theirs["optimizer"]):  # one group, in the order of the parameters
        (group,) = optimizer_state["param_groups"]
        shapes.append([optimizer_state["state"][number]["momentum_buffer"].shape for number in group["params"]])
    assert shapes[0] == shapes[1]
