#!/usr/bin/env python3
"""Accuracy of examples/benchmark.toml: all tasks as one model, each task alone, and an ablation.

    cargo build --release && python3 docs/benchmarks/accuracy.py together alone      # mean ± deviation over seeds
    cargo build --release && python3 docs/benchmarks/accuracy.py ablation
    cargo build --release && python3 docs/benchmarks/accuracy.py together alone --config examples/pretrained.toml

Needs Python 3.11 and nothing else. Each run is one call of `polytask train … --json`; the tables are printed as Markdown.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples" / "benchmark.toml"
POLYTASK = ROOT / "target" / "release" / "polytask"

# What each run of the ablation changes of the configuration.
ABLATION = {
    "as configured": [],
    "softmax instead of the CRF": ["tasks.slots.decoder=softmax", "tasks.entities.decoder=softmax"],
    "no word shapes": ["encoder.word_shapes=0"],
    "no convolution": ["encoder.window=0"],
    "a window of two neighbours instead of one": ["encoder.window=2"],
    "three layers instead of two": ["encoder.layers=3"],
    "no word dropout": ["encoder.word_dropout=0"],
    "dropout 0.1 instead of 0.2": ["encoder.dropout=0.1"],
    "no label smoothing": [f"tasks.{task}.label_smoothing=0" for task in ("intent", "sentiment", "question")],
    "no weight averaging": ["trainer.weight_averaging=0"],
    "batches of 32, learning rate 2e-3": ["trainer.batch_size=32", "trainer.learning_rate=2e-3"],
}


def value(x):
    return json.dumps(x) if not isinstance(x, list) else "[" + ", ".join(map(value, x)) + "]"


def write_toml(config, path):
    """A configuration of flat tables and lists of flat tables."""
    lines = []
    for section, tables in config.items():
        for table in tables if isinstance(tables, list) else [tables]:
            lines.append(f"[[{section}]]" if isinstance(tables, list) else f"[{section}]")
            lines += [f"{key} = {value(x)}" for key, x in table.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def only(config, task):
    """The configuration of one task and the data set that feeds it."""
    chosen = [t for t in config["tasks"] if t["name"] == task]
    data_set = chosen[0]["label"].split(".")[0]
    return config | {"tasks": chosen, "data": [d for d in config["data"] if d["name"] == data_set]}


def train(config, sets, seed, threads):
    """The last line of one training run, as an object."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "benchmark.toml"
        write_toml(config, path)
        sets = [f"trainer.seed={seed}", *sets]
        options = [option for assignment in sets for option in ("--set", assignment)]
        command = [POLYTASK, "train", path, "--out", pathlib.Path(folder) / "model", "--json", *options]
        command += ["--threads", str(threads)]
        run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr)
    result = json.loads(run.stdout.splitlines()[-1])
    print(seed, sets[1:], result["dev"], f"{result['seconds']:.0f} s", file=sys.stderr, flush=True)
    return result


def cell(values):
    values = [100 * v for v in values]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def row(name, results, tasks):
    cells = [cell([r["dev"][t] for r in results]) if t in results[0]["dev"] else "" for t in tasks]
    means = [statistics.mean(r["dev"][t] for t in tasks) for r in results] if len(results[0]["dev"]) == len(tasks) else []
    seconds = statistics.mean(r["seconds"] for r in results)
    return f"| {name} | {' | '.join(cells)} | {cell(means) if means else ''} | {seconds:.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["together", "alone", "ablation"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", type=pathlib.Path, default=CONFIG)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of `polytask train`")
    parser.add_argument("--rows", default="", help="only the rows of the ablation whose name holds this text")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--threads", type=int, default=0, help="of each; 0: all cores. The result does not depend on it")
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text(encoding="utf-8"))
    for data in config["data"]:  # the copy lies elsewhere
        for key in {"train", "dev"} & data.keys():
            data[key] = str((arguments.config.parent / data[key]).resolve())
    tasks = [task["name"] for task in config["tasks"]]
    pool = ThreadPoolExecutor(arguments.jobs)
    run = lambda config, sets: [
        pool.submit(train, config, arguments.set + sets, seed, arguments.threads) for seed in range(arguments.seeds)
    ]
    runs = {}
    if "together" in arguments.what:
        runs["one model"] = run(config, [])
    if "alone" in arguments.what:
        runs |= {f"{task} alone": run(only(config, task), []) for task in tasks}
    if "ablation" in arguments.what:
        runs |= {name: run(config, sets) for name, sets in ABLATION.items() if arguments.rows in name}
    print(f"| | {' | '.join(tasks)} | mean | seconds |\n|---|{'---|' * (len(tasks) + 2)}")
    for name, futures in runs.items():
        print(row(name, [future.result() for future in futures], tasks), flush=True)


if __name__ == "__main__":
    main()
