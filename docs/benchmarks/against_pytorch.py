#!/usr/bin/env python3
"""Training speed beside PyTorch: one encoder, five tasks, the same data, vocabulary, batch size and threads, in turn.

    cargo build --release
    python3 docs/benchmarks/against_pytorch.py --peer torch_multitask.py --data DATA --model MINILM --size 2,128,4

--peer is a PyTorch training script that prints one JSON line with `tokens_per_s` and `peak_rss_mb` (real word pieces,
padding not counted); --model a Hugging Face folder whose tokenizer.json both sides use. Run it with a Python that has
torch and transformers. Every round runs each variant once; the table shows medians, and ratios to the first line.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
POLYTASK = ROOT / "target" / "release" / "polytask"

# The peer's model: BERT's post-norm layers, no convolution, no word shapes, no CRF.
SAME_MODEL = """
encoder.norm=post encoder.window=0 encoder.word_shapes=0 encoder.word_dropout=0 encoder.dropout=0.1
encoder.attention_dropout=0.1 tasks.slots.decoder=softmax tasks.entities.decoder=softmax tokenizer.max_tokens=128
trainer.weight_averaging=0 trainer.epochs=1 trainer.batch_size=32 trainer.threads=2
""".split()


def last_json(command):
    run = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def polytask(arguments, sets):
    with tempfile.TemporaryDirectory() as folder:
        options = [option for assignment in sets for option in ("--set", assignment)]
        out = pathlib.Path(folder) / "model"
        return last_json([POLYTASK, "train", ROOT / "examples/benchmark.toml", "--out", out, "--json", *options])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["--peer", "--data", "--model"]:
        parser.add_argument(name, required=True, type=pathlib.Path)
    parser.add_argument("--size", default="2,128,4", help="layers,width,heads")
    parser.add_argument("--steps", default=300, help="steps that PyTorch trains")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    layers, width, heads = arguments.size.split(",")
    size = [f"encoder.layers={layers}", f"encoder.width={width}", f"encoder.heads={heads}"]
    tokenizer = f"tokenizer.path={(arguments.model / 'tokenizer.json').resolve()}"
    peer = [sys.executable, arguments.peer, "--model", arguments.model, "--data", arguments.data, "--threads", 2]
    peer += ["--scratch", arguments.size, "--batch", 32, "--max-steps", arguments.steps]
    variants = {
        "PyTorch, padded": lambda: last_json(peer),
        "PyTorch, batches of like length": lambda: last_json([*peer, "--bucket"]),
        "polytask, the same model": lambda: polytask(arguments, [*SAME_MODEL, *size, tokenizer]),
        "polytask, as examples/benchmark.toml": lambda: polytask(arguments, [*size, "trainer.epochs=1", "trainer.threads=2"]),
    }
    results = {name: [] for name in variants}
    for _ in range(arguments.rounds):
        for name, run in variants.items():
            results[name].append(run())
            print(name, results[name][-1]["tokens_per_s"], file=sys.stderr, flush=True)
    print("| | real tokens/s | ratio | peak resident MB |\n|---|---|---|---|")
    median = lambda name, key: statistics.median(result[key] for result in results[name])
    first = median(next(iter(variants)), "tokens_per_s")
    for name in variants:
        speed, memory = median(name, "tokens_per_s"), median(name, "peak_rss_mb")
        print(f"| {name} | {speed:,.0f} | {speed / first:.2f} | {memory:,.0f} |")


if __name__ == "__main__":
    main()
