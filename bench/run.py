"""Run every bench and print one table (``--json``: one list). Other options are handed on."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from measure import Row, table


def main() -> None:
    options = [option for option in sys.argv[1:] if option != "--json"]
    rows: list[Row] = []
    for bench in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"{bench.stem} ...", file=sys.stderr)
        done = subprocess.run(
            [sys.executable, bench, "--json", *options], stdout=subprocess.PIPE, text=True, check=True
        )
        names = {field.name for field in fields(Row)}
        rows += [Row(**{k: v for k, v in entry.items() if k in names}) for entry in json.loads(done.stdout)]
    print(json.dumps([vars(row) | {"ratio": row.ratio} for row in rows]) if "--json" in sys.argv else table(rows))


if __name__ == "__main__":
    main()
