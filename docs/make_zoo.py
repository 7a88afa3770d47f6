"""Write the tables of docs/zoo.md from the library's list of published detectors: python docs/make_zoo.py."""

import re
from itertools import groupby
from pathlib import Path

from ssd.utils.model_zoo import ZooModel, zoo_models

PAGE = Path(__file__).with_name("zoo.md")
TABLES = re.compile(r"(?<=<!-- tables -->\n).*?(?=<!-- end of the tables -->)", re.DOTALL)
HEAD = (
    "| name | reported (source) | network, input | parameters (M), GMAC | file | licence | verified | config |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def make_tables() -> str:
    """Return a table for each dataset, best metric first."""
    models = sorted(zoo_models().values(), key=lambda model: model.data)
    tables = []
    for data, rows in groupby(models, key=lambda model: model.data):
        by_metric = sorted(rows, key=lambda model: float(model.figure.split(",")[0] or 0), reverse=True)
        tables.append(f"\n## {data[0].upper()}{data[1:]}\n\n{HEAD}{''.join(map(make_row, by_metric))}")
    return "".join(tables) + "\n"


def make_row(model: ZooModel) -> str:
    """Return the row of one detector; its file is a link if it has an address, else the page of the project is."""
    file = f"[`{model.file}`]({model.url})" if model.url else f"`{model.file}`, by a link of [its page]({model.page})"
    figure = f"{model.figure} ({model.source})" if model.figure else model.source
    network, cost = f"{model.network}, {model.size}", f"{model.parameters}, {model.gmac}"
    cells = (f"`{model.name}`", figure, network, cost, file, model.licence, model.verified)
    return f"| {' | '.join(cells)} | `{model.config}` |\n"


if __name__ == "__main__":
    PAGE.write_text(TABLES.sub(lambda _: make_tables(), PAGE.read_text()))
