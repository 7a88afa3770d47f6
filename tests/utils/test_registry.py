import pytest

from ssd.utils.errors import ConfigError
from ssd.utils.registry import Registry


def build() -> str:
    return "built"


def test_by_call_and_by_decorator() -> None:
    registry = Registry("backbone")
    assert registry.register("a", build) is build

    @registry.register("b")
    def other() -> str:
        return "other"

    assert registry["a"]() == "built"
    assert registry["b"] is other
    with pytest.raises(ValueError, match="'a'"):
        registry.register("a", other)
    assert registry["a"] is build
    assert registry.get("c") is None


def test_an_unknown_name_suggests_the_nearest() -> None:
    registry = Registry("backbone")
    for name in ("vgg", "mobilenet_v2"):
        registry.register(name, build)
    with pytest.raises(ConfigError, match=r"backbone 'mobilenetv2'.* 'mobilenet_v2'\?"):
        registry["mobilenetv2"]
    with pytest.raises(ConfigError, match=r"mobilenet_v2, vgg"):
        registry["zzz"]


def test_a_family_serves_every_name_below_it() -> None:
    registry = Registry("backbone")
    registry.register("timm/*", build)
    registry.register("timm/special", len)
    assert registry["timm/resnet18.a1_in1k"] is registry["timm/a/b"] is build
    assert registry["timm/special"] is len
    for name in ("timm", "timm/", "timmy/resnet18", "resnet18"):
        with pytest.raises(ConfigError, match=f"'{name}'"):
            registry[name]


def test_modules_are_imported_until_the_name_is_found(tmp_path, monkeypatch) -> None:
    registry = Registry("backbone", modules=["networks_one", "networks_two", "networks_three"])
    monkeypatch.setattr("builtins.registry_of_test", registry, raising=False)
    for number in ("one", "two", "three"):
        (tmp_path / f"networks_{number}.py").write_text(f"registry_of_test.register('{number}', len)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry["two"] is len
    assert sorted(registry) == ["one", "two"]
    with pytest.raises(ConfigError, match="one, three, two"):
        registry["four"]
