"""Copies configs/ into an installed package, as ssd/configs; the metadata is in pyproject.toml."""

import sys
from pathlib import Path

if {"install", "develop"} & set(sys.argv[1:]):  # newer versions of Python do not even bring setuptools
    sys.exit("python setup.py install is not supported: use `pip install .`, or `pip install -e .` to change the code")

import setuptools
from setuptools.command.build_py import build_py

if int(setuptools.__version__.partition(".")[0]) < 77:
    sys.exit(f"setuptools {setuptools.__version__} is too old, 77 is needed: use `pip install .`, which fetches it")

CONFIGS = Path("configs")  # one copy, at the top of the repository; ssd/config/files.py looks at both places


class BuildWithConfigs(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:  # else the checkout's are found
            for source, target in self._configs().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def _configs(self):
        return {str(path): str(Path(self.build_lib, "ssd", path)) for path in sorted(CONFIGS.rglob("*.yaml"))}

    def get_outputs(self, include_bytecode=1):
        configs = [] if self.editable_mode else self._configs().values()
        return [*super().get_outputs(include_bytecode), *configs]


setuptools.setup(cmdclass={"build_py": BuildWithConfigs})
