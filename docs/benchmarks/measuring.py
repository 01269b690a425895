"""What the measuring scripts share: runs in turn, medians, the machine, tables, and calls of this project's programs."""

import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
BUILD = "cargo build --release -p polytask-cli -p polytask-examples"

# BERT's layers and nothing else: post-norm, no convolution, no word shapes.
PLAIN_ENCODER = """
encoder.norm=post encoder.window=0 encoder.word_shapes=0 encoder.word_dropout=0 encoder.dropout=0.1
encoder.attention_dropout=0.1
""".split()


def encoder_size(size):
    layers, width, heads = size.split(",")
    return [f"encoder.layers={layers}", f"encoder.width={width}", f"encoder.heads={heads}"]


def last_json(command, **environment):
    """The last line that a program prints, as an object."""
    command = [str(part) for part in command]
    environment = {**os.environ, "RUST_BACKTRACE": "0", **environment}  # the last line of an error is its message
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode != 0:
        raise RuntimeError((run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1])
    return json.loads(run.stdout.splitlines()[-1])


def polytask_train(config, out, sets, threads=2):
    """One call of `polytask train`; its summary, with memory in MiB as all others count it."""
    options = [option for assignment in sets for option in ("--set", assignment)]
    command = [PROGRAMS / "polytask", "train", config, "--out", out, "--json", "--threads", threads, *options]
    summary = last_json(command)
    return summary | {"peak_rss_mb": summary["peak_rss_mb"] * 1e6 / 2**20}


def is_missing(model):
    """Whether a model folder has yet to be trained; what an interrupted training left of it goes."""
    if (model / "model.json").exists():
        return False
    shutil.rmtree(model, ignore_errors=True)
    return True


def inference(model, texts, threads=2, **options):
    """One call of examples/inference.rs on a model folder."""
    options = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = [PROGRAMS / "inference", model, texts, "--threads", threads, *options, "--started", time.time()]
    return last_json(command)


def training_step(ids, size, threads=2, **options):
    """One call of examples/training_step.rs."""
    layers, width, heads = size.split(",")
    options = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = [PROGRAMS / "training_step", ids, "--layers", layers, "--width", width, "--heads", heads]
    return last_json([*command, "--threads", threads, *options])


def in_turn(variants, rounds):
    """Every round runs each variant once: what a machine does in between touches all alike. Lists of results by name."""
    results = {name: [] for name in variants}
    for round in range(rounds):
        for name, run in variants.items():
            try:
                results[name].append(run())
            except RuntimeError as error:
                results[name].append({"failed": str(error)})
            print(f"{round + 1}/{rounds} {name}: {json.dumps(results[name][-1])}", file=sys.stderr, flush=True)
    return results


def median(runs, *keys):
    """The median over runs of a number inside them; None where there is none."""
    values = []
    for value in runs:
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        values += [] if value is None else [value]
    return statistics.median(values) if values else None


def single_pieces(model):
    """Words that the tokenizer of a Hugging Face folder keeps whole, each with its id, in a fixed order."""
    vocabulary = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted((word, id) for word, id in vocabulary.items() if word.isascii() and word.isalpha() and len(word) > 2)


def cell(value):
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(heads, rows):
    """A table in Markdown."""
    lines = [heads, *(map(cell, row) for row in rows)]
    head, *lines = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, f"|{'---|' * len(heads)}", *lines])


def print_table(heads, rows):
    print(f"\n{table(heads, rows)}", flush=True)


def print_columns(columns, results):
    """A line for each variant; `columns`: head → (value of its runs, whether more is better)."""
    values = lambda runs: [value(runs) for value, _ in columns.values()]
    print_table(["", *columns], [[name, *values(runs)] for name, runs in results.items()])


def print_ratios(columns, results, is_ours):
    """How many times better than the best peer, column by column."""
    best = {}
    for head, (value, more) in columns.items():
        values = [value(runs) for name, runs in results.items() if not is_ours(name)]
        values = [v for v in values if v]
        best[head] = (max if more else min)(values) if values else None
    rows = []
    for name in filter(is_ours, results):
        row = [name]
        for head, (value, more) in columns.items():
            ours = value(results[name])
            known = ours and best[head]
            row.append(f"{ours / best[head] if more else best[head] / ours:.2f} ×" if known else None)
        rows.append(row)
    print_table(["times better than the best peer", *columns], rows)


def print_failures(results):
    for name, runs in results.items():
        for message in sorted({run["failed"] for run in runs if "failed" in run}):
            print(f"\n{name}: not measured ({message})")


def machine(threads, packages=()):
    """Where and with what the numbers were made."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    model = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith(("cpu family", "model\t"))]
    polytask = subprocess.run([PROGRAMS / "polytask", "--version"], capture_output=True, text=True, check=True)
    return {
        "processor": f"{names[0] if names else platform.processor()} (family {model[0]}, model {model[1]})",
        "cores": len(names),
        "threads": threads,
        "load before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "polytask": polytask.stdout.split()[-1],
    } | {package: importlib.metadata.version(package) for package in packages}


def print_machine(facts):
    print(" · ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    if facts["load before"] > 0.5:
        print("\nSomething else was running at the start: these numbers are not to be trusted.", flush=True)


def write_json(path, facts, results):
    if path:
        path.write_text(json.dumps({"machine": facts, "results": results}, indent=1) + "\n", encoding="utf-8")
