"""A random part of the four data sets, in the same files: every label occurs, so that all heads keep their size."""

import csv
import io
import json
import random

# Each set keeps so many training rows at least: labels of the part that TREC holds out must occur before it.
LEAST = 200
# The first training rows once more: what is measured on after training only has to be there.
DEV = 50


def conll_texts(text):
    return [block for block in text.split("\n\n") if block.strip()]


def csv_line(row):
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue().rstrip("\n")


def json_labels(line):
    row = json.loads(line)
    return {row["intent"], *row["slots"]}


def read(source):
    """Set → (files to write, first line, rows, the labels of a row, what stands between rows)."""
    text = lambda path: (source / path).read_text(encoding="utf-8")
    lines = lambda path: text(path).rstrip("\n").split("\n")  # `splitlines` would cut at rare characters too
    snips, sst2 = lines("snips/train.jsonl"), lines("sst2/train.tsv")
    trec = list(csv.reader(io.StringIO(text("trec/train.csv"))))
    coarse = trec[0].index("coarse")
    tags = lambda block: {line.split("\t")[1] for line in block.split("\n") if line.strip()}
    return {
        "snips": (["train.jsonl", "dev.jsonl"], "", snips, json_labels, "\n"),
        "sst2": (["train.tsv", "dev.tsv"], sst2[0] + "\n", sst2[1:], lambda line: {line.split("\t")[-1]}, "\n"),
        "trec": (["train.csv"], csv_line(trec[0]) + "\n", trec[1:], lambda row: {row[coarse]}, "\n"),
        "wnut17": (["train.conll", "dev.conll"], "", conll_texts(text("wnut17/train.conll")), tags, "\n\n"),
    }


def chosen(rows, labels, count):
    """So many random rows; first of them one for each label."""
    rows = list(rows)
    random.Random(0).shuffle(rows)
    known, first, rest = set(), [], []
    for row in rows:
        new = labels(row) - known
        (first if new else rest).append(row)
        known |= new
    return (first + rest)[: max(count, len(first))]


def write(source, target, share):
    """Writes this share of the training rows of each set below `source` to `target`."""
    for name, (files, head, rows, labels, between) in read(source).items():
        part = chosen(rows, labels, max(LEAST, round(share * len(rows))))
        lines = [csv_line(row) if isinstance(row, list) else row for row in part]
        (target / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            kept = lines if file.startswith("train") else lines[:DEV]
            (target / name / file).write_text(head + between.join(kept) + "\n", encoding="utf-8")


def settings(folder):
    """The assignments with which examples/benchmark.toml reads the four sets from a folder."""
    folder = folder.resolve()
    sets = {"snips": "jsonl", "sst2": "tsv", "wnut17": "conll"}
    paths = [f"data.{name}.{part}={folder / name / part}.{end}" for name, end in sets.items() for part in ("train", "dev")]
    return [*paths, f"data.trec.train={folder / 'trec' / 'train.csv'}"]
