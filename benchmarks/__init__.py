"""Measurements of the library beside what a user would otherwise run: ``python -m benchmarks --help``.

A module a question, in SUITES of ``__main__.py``; each has ``run(plan)``, which yields comparisons. All data is
rendered. What the library is asked to do stands in ``library.py``, what torchvision is in ``rivals.py``, what a
checkout of lufficc/SSD is in ``peer_child.py``. ``accuracy`` compares trainings on data of the user.
"""
