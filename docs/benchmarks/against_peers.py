#!/usr/bin/env python3
"""Speed beside PyTorch, ONNX Runtime and spaCy: the same work, the same data and threads, in turn, medians over rounds.

    cargo build --release -p polytask-cli -p polytask-examples
    python3 docs/benchmarks/against_peers.py training   --peers DIR --data DIR --model DIR --work DIR
    python3 docs/benchmarks/against_peers.py fine_tuning --peers DIR --data DIR --model DIR --work DIR
    python3 docs/benchmarks/against_peers.py step       --peers DIR --data DIR --model DIR --work DIR
    python3 docs/benchmarks/against_peers.py inference  --peers DIR --data DIR --model DIR --work DIR
    python3 docs/benchmarks/against_peers.py quickstart --peers DIR --data DIR --work DIR

--peers holds the peers' scripts, --data the four sets of examples/benchmark.toml, --model a Hugging Face folder whose
tokenizer.json both sides use; what is made on the way (texts, ids, trained and exported models) lies in --work and is
used again until it is deleted. Run it with a Python that has what the peers need, on a machine that does nothing else.
Tables are printed as Markdown, --json FILE keeps every number of every round.
"""

import argparse
import itertools
import json
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

import data_slice
from measuring import (
    BUILD, PLAIN_ENCODER, PROGRAMS, ROOT, encoder_size, in_turn, inference, is_missing, last_json, machine, median,
    polytask_train, print_columns, print_failures, print_machine, print_ratios, print_table, single_pieces, training_step, write_json,
)

SIZES = {"6x384": "6,384,12", "2x128": "2,128,4"}
BENCHMARK = ROOT / "examples" / "benchmark.toml"
PRETRAINED = ROOT / "examples" / "pretrained.toml"
BATCH = 32
IS_OURS = lambda name: name.startswith("polytask")

# The encoder of examples/quickstart.toml with the data and the tasks that spaCy's pipeline is trained on.
SNIPS = """
[encoder]
type = "transformer"
width = 128
layers = 2

[[data]]
name = "snips"
train = "{data}/snips/train.jsonl"
dev = "{data}/snips/dev.jsonl"
tokens = "tokens"

[[tasks]]
type = "classification"
name = "intent"
label = "snips.intent"

[[tasks]]
type = "ner"
name = "slots"
label = "snips.slots"

[trainer]
learning_rate = 2e-3
"""

# The peers' model: a plain encoder, a linear layer a task.
SAME_MODEL = PLAIN_ENCODER + """
tasks.slots.decoder=softmax tasks.entities.decoder=softmax tasks.intent.label_smoothing=0
tasks.sentiment.label_smoothing=0 tasks.question.label_smoothing=0 tokenizer.max_tokens=128
trainer.weight_averaging=0 trainer.epochs=1 trainer.batch_size=32 trainer.learning_rate=1e-4
""".split()


def peer(arguments, script, *options):
    """One call of a peer's script."""
    command = [sys.executable, arguments.peers / script, *options]
    return last_json(command, HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(arguments.threads))


def alternating(peers, own):
    """A peer, ours, a peer, ours, …; what is left of either at the end."""
    pairs = itertools.zip_longest(peers.items(), own.items())
    return dict(item for pair in pairs for item in pair if item is not None)


def tokenizer(arguments):
    return f"tokenizer.path={(arguments.model / 'tokenizer.json').resolve()}"


def training(arguments):
    """One epoch over a part of the four sets; both sides read the same files."""
    data = arguments.work / f"data-{arguments.share}"
    data_slice.write(arguments.data, data, arguments.share)
    results = {}
    for size in arguments.sizes:
        shape = SIZES[size]
        common = ["--model", arguments.model, "--data", data, "--threads", arguments.threads]
        common += ["--batch", BATCH, "--epochs", 1]
        torch = lambda *more: peer(arguments, "torch_multitask.py", *common, "--scratch", shape, *more)

        def ours(*more):
            out = arguments.work / "trained"
            shutil.rmtree(out, ignore_errors=True)
            sets = [*SAME_MODEL, *encoder_size(shape), tokenizer(arguments), *data_slice.settings(data), *more]
            return polytask_train(BENCHMARK, out, sets, arguments.threads)

        peers = {"PyTorch, padded": torch, "PyTorch, batches of like length": lambda: torch("--bucket")}
        own = {"polytask, f32": ours, "polytask, bf16": lambda: ours("trainer.precision=bf16")}
        results[size] = in_turn(alternating(peers, own), arguments.rounds)
    return results


def report_training(results, _):
    speed, memory = lambda runs: median(runs, "tokens_per_s"), lambda runs: median(runs, "peak_rss_mb")
    for size, runs in results.items():
        print(f"\n{size}: five tasks, batches of {BATCH}; word pieces without padding")
        rows = [[name, speed(of), median(of, "steps"), memory(of)] for name, of in runs.items()]
        print_table(["", "real tokens/s", "steps", "peak resident MiB"], rows)
        print_ratios({"real tokens/s": (speed, True), "memory": (memory, False)}, runs, IS_OURS)
        print_failures(runs)


def fine_tuning(arguments):
    """One epoch over a part of the four sets, on the weights of --model; ours as examples/pretrained.toml has it."""
    data = arguments.work / f"data-{arguments.share}"
    data_slice.write(arguments.data, data, arguments.share)
    common = ["--model", arguments.model, "--data", data, "--threads", arguments.threads]
    torch = lambda *more: peer(arguments, "torch_multitask.py", *common, "--batch", BATCH, "--epochs", 1, *more)

    def ours(*more):
        out = arguments.work / "fine-tuned"
        shutil.rmtree(out, ignore_errors=True)
        sets = [f"encoder.path={arguments.model.resolve()}", "trainer.epochs=1", *data_slice.settings(data), *more]
        return polytask_train(PRETRAINED, out, sets, arguments.threads)

    peers = {"PyTorch, padded": torch, "PyTorch, batches of like length": lambda: torch("--bucket")}
    lora = ["adapters.lora_rank=8", "trainer.learning_rate=1e-3"]
    bf16 = "trainer.precision=bf16"
    own = {"polytask, f32": ours, "polytask, bf16": lambda: ours(bf16), "polytask, LoRA": lambda: ours(*lora)}
    return {"pretrained": in_turn(alternating(peers, own), arguments.rounds)}


def token_ids(arguments):
    """The ids of the training texts, as the peers' library writes them."""
    path = arguments.work / "ids.json"
    if not path.exists():
        command = [sys.executable, arguments.peers / "peerlib.py", "--model", arguments.model, "--data", arguments.data]
        subprocess.run([str(part) for part in [*command, "--out", path]], check=True)
    return path


def step(arguments):
    """One training step: the same encoder, three heads, the same batches in the same order."""
    ids, results = token_ids(arguments), {}
    for size in arguments.sizes:

        def torch(inputs, variant):
            options = ["--model", arguments.model, "--data", arguments.data, "--threads", arguments.threads]
            options += ["--steps", arguments.steps, "--sizes", size, "--inputs", inputs, "--variants", variant]
            result = peer(arguments, "torch_step.py", *options)[size][inputs][variant]
            if "failed" in result:
                raise RuntimeError(result["failed"].strip().splitlines()[-1])
            return result

        def ours(precision):
            return training_step(ids, SIZES[size], arguments.threads, steps=arguments.steps, precision=precision)

        cases = [(inputs, variant) for inputs in arguments.inputs for variant in arguments.variants]
        peers = {f"PyTorch, {case[0]}, {case[1]}": lambda case=case: torch(*case) for case in cases}
        own = {f"polytask, {name}": lambda name=name: ours(name) for name in ("f32", "bf16")}
        results[size] = in_turn(alternating(peers, own), arguments.rounds)
    return results


def report_step(results, arguments):
    time, memory = lambda runs: median(runs, "ms_per_step"), lambda runs: median(runs, "peak_rss_mb")
    for size, runs in results.items():
        print(f"\n{size}: one step on {BATCH} texts; the peers' three heads of 7, 72 and 2 outputs, here 7, 73 and 2")
        parts = ["forward_ms", "backward_ms", "optimizer_ms"]
        parts += ["tokens_per_s"]
        row = lambda name, of: [name, time(of), *(median(of, part) for part in parts), memory(of)]
        heads = ["", "ms a step", "forward", "backward", "optimizer", "real tokens/s", "peak resident MiB"]
        print_table(heads, [row(name, of) for name, of in runs.items()])
        print_ratios({"ms a step": (time, False), "memory": (memory, False)}, runs, IS_OURS)
        of = runs["polytask, f32"]
        if time(of):
            keys = ("gflop_per_step", "gflop_per_s_one_core", "products_alone_ms")
            work, rate, alone = (median(of, key) for key in keys)
            print(f"\nThe products of a step alone: {work:.2f} GFLOP at {rate:.0f} GFLOP/s", end=" ")
            print(f"(f32, `gemm`, one core) × {arguments.threads} threads = {alone:.1f} ms;", end=" ")
            print(f"the f32 step takes {time(of) / alone:.2f} times that.")
        print_failures(runs)


def dev_texts(arguments):
    sys.path.insert(0, str(arguments.peers))
    import peerlib

    return peerlib.shuffled(peerlib.dev_texts(arguments.data))


def write_texts(path, texts, **singles):
    path.write_text(json.dumps({"texts": texts, "singles": singles}), encoding="utf-8")
    return path


def benchmark_model(arguments, size):
    """A model folder of this size with five heads; how well it was trained does not matter."""
    out = arguments.work / f"model-{size}"
    if is_missing(out):
        data = arguments.work / "data-least"
        data_slice.write(arguments.data, data, 0)
        sets = [*SAME_MODEL, *encoder_size(SIZES[size]), tokenizer(arguments), *data_slice.settings(data)]
        polytask_train(BENCHMARK, out, sets, arguments.threads)
    return out


def quantized(model):
    """The model of 8-bit integers beside a model."""
    out = model.with_name(f"{model.name}-int8")
    if not (out / "model.json").exists():
        last_json([PROGRAMS / "polytask", "quantize", model, "--out", out, "--json"])
    return out


def of_24_pieces(words, count):
    generator = random.Random(0)
    return [" ".join(word for word, _ in generator.sample(words, 24)) for _ in range(count)]


def ort_inference(arguments, size, part, *options):
    """One part of ort_inference.py at one size."""
    common = ["--model", arguments.model, "--data", arguments.data, "--work", arguments.work / "onnx"]
    common += ["--threads", arguments.threads, "--sizes", size, "--parts", part]
    result = peer(arguments, "ort_inference.py", *common, *options)[part]
    result = next(iter(result.values()))  # the tokenizer's size is always the same
    if "failed" in result:
        raise RuntimeError(result["failed"].strip().splitlines()[-1])
    return result


def both(rate, other):
    """Texts/s of two steps one after the other."""
    return 1 / (1 / rate + 1 / other)


def peer_inference(arguments, part, size):
    """A peer's figures in the form of ours: `logits` from token ids, and whole answers with its tokenizer's time added."""
    result = ort_inference(arguments, size, part, "--passes", arguments.passes, "--singles", arguments.singles)
    rate = lambda order: result[f"b32_{order}_texts_per_s"]
    return {
        "first_answer_s": result["first_answer_s"],
        "in_order": {"logits_texts_per_s": rate("random")},
        "sorted": {"logits_texts_per_s": rate("bucketed")},
        "singles": {
            name: {f"logits_{key}": value for key, value in result[part].items()}
            for name, part in (("dev texts", "b1_real"), ("24 pieces", "b1_24tokens"))
        },
        "peak_rss_mb": result["peak_rss_mb"],
        "peer": result,
    }


def named(part):
    """What the peers' script calls a part, in words."""
    what, _, variant = part.partition("_")
    return f"PyTorch, {variant}" if what == "torch" else f"ONNX Runtime, {part.replace('_', ', ')}"


def with_tokenizer(runs, tokens):
    """Adds what a peer's whole answer takes: its figures begin at token ids."""
    for run in (run for run in runs if "failed" not in run):
        for order in ("in_order", "sorted"):
            run[order]["texts_per_s"] = both(run[order]["logits_texts_per_s"], tokens["b32_texts_per_s"])
        for single in run["singles"].values():
            for key in ("p50_ms", "p99_ms"):
                single[key] = single[f"logits_{key}"] + 1e3 / tokens["b1_texts_per_s"]


def run_inference(arguments):
    """The dev texts, in batches and one at a time, to the outputs of five heads."""
    texts, tokens = dev_texts(arguments), ort_inference(arguments, arguments.sizes[0], "tokenizer")
    words = single_pieces(arguments.model)
    singles = {"dev texts": texts[: arguments.singles], "24 pieces": of_24_pieces(words, arguments.singles // 2)}
    path, results = write_texts(arguments.work / "texts.json", texts, **singles), {"tokenizer of the peers": tokens}
    for size in arguments.sizes:
        model = benchmark_model(arguments, size)
        folder = {"int8": quantized(model)}
        ours = lambda precision: inference(
            folder.get(precision, model), path, arguments.threads, passes=arguments.passes, precision=precision
        )
        own = {f"polytask, {name}": lambda name=name: ours(name) for name in ("f32", "bf16", "int8")}
        peers = {named(part): lambda part=part: peer_inference(arguments, part, size) for part in arguments.parts}
        results[size] = in_turn(alternating(peers, own), arguments.rounds)
        for name in peers:
            with_tokenizer(results[size][name], tokens)
    return results


def report_inference(results, _):
    tokens = results.pop("tokenizer of the peers")
    print(f"\n{tokens['texts']:,} texts. The peers' tokenizer: {tokens['tokens']:,} pieces with [CLS] and [SEP],", end=" ")
    print(f"{tokens['b32_texts_per_s']:,} texts/s in batches, {tokens['b1_texts_per_s']:,} one at a time;", end=" ")
    print(f"padding {tokens['padding_random']:.0%} in order, {tokens['padding_bucketed']:.0%} sorted.")
    rates, moments = {}, {}
    for order, head in (("in_order", "in order"), ("sorted", "sorted by length")):
        for key, what in (("texts_per_s", "text to answer"), ("logits_texts_per_s", "ids to logits")):
            rates[f"{head}, {what}"] = (lambda runs, order=order, key=key: median(runs, order, key), True)
    for texts in ("dev texts", "24 pieces"):
        for key, what in (("", "text to answer"), ("logits_", "ids to logits")):
            for quantile in ("p50_ms", "p99_ms"):
                value = lambda runs, texts=texts, key=key + quantile: median(runs, "singles", texts, key)
                moments[f"one of the {texts}, {what}, {quantile[:3]} ms"] = (value, False)
    moments["process start to answer, s"] = (lambda runs: median(runs, "first_answer_s"), False)
    moments["peak resident MiB"] = (lambda runs: median(runs, "peak_rss_mb"), False)
    for size, runs in results.items():
        ours = next(run for run in runs["polytask, f32"] if "failed" not in run)
        own = ours["in_order"]["tokenizer_texts_per_s"]
        print(f"\n{size}: here {ours['pieces']:,} pieces, tokenizer {own:,.0f} texts/s, outputs {ours['outputs']}.", end=" ")
        print(f"Texts/s in batches of {BATCH}; then one text at a time.")
        for columns in (rates, moments):
            print_columns(columns, runs)
            print_ratios(columns, runs, IS_OURS)
        print_failures(runs)


def process_seconds(command, runs):
    """Seconds from process start to end, run by run."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return seconds


def quickstart(arguments):
    """The model of examples/quickstart.toml, and its encoder trained on SNIPS, beside spaCy's pipeline trained on SNIPS."""
    texts = dev_texts(arguments)
    snips = arguments.work / "snips.toml"
    snips.write_text(SNIPS.format(data=arguments.data.resolve()), encoding="utf-8")

    def trained(config):
        model = arguments.work / config.stem
        if is_missing(model):
            polytask_train(config, model, ["trainer.epochs=1"], arguments.threads)
        return model

    quickstart, snips = trained(ROOT / "examples" / "quickstart.toml"), trained(snips)
    path = write_texts(arguments.work / "quickstart-texts.json", texts, **{"dev texts": texts[: arguments.singles]})

    def ours(model, threads):
        result = inference(model, path, threads, passes=arguments.passes)
        predict = [PROGRAMS / "polytask", "predict", model, "play some jazz from the nineties"]
        seconds = process_seconds(predict, arguments.starts)
        rate = result["in_order"]["texts_per_s"]
        return {
            "texts_per_s": rate,
            "words_per_s": rate * result["words"] / result["texts"],
            "b1": result["singles"]["dev texts"],
            "cold_start_s": statistics.median(seconds),
            "peak_rss_mb": result["peak_rss_mb"],
        }

    def spacy(head):
        # Its speed does not depend on how long it was trained.
        options = ["--data", arguments.data, "--work", arguments.work / "spacy", "--textcat", head, "--max-steps", 100]
        result = peer(arguments, "spacy_baseline.py", *options, "--repeat", arguments.passes)[head]
        return result | {name: result[f"{name}_1_process"] for name in ("texts_per_s", "words_per_s")}

    variants = {
        "spaCy, textcat reduce": lambda: spacy("reduce"),
        "polytask, one core": lambda: ours(quickstart, 1),
        "polytask trained on SNIPS, one core": lambda: ours(snips, 1),
        "spaCy, textcat ensemble": lambda: spacy("ensemble"),
        f"polytask, {arguments.threads} threads": lambda: ours(quickstart, arguments.threads),
        f"polytask trained on SNIPS, {arguments.threads} threads": lambda: ours(snips, arguments.threads),
    }
    return in_turn(variants, arguments.rounds)


def report_quickstart(results, _):
    columns = {
        "texts/s": (lambda runs: median(runs, "texts_per_s"), True),
        "words/s, as each cuts them": (lambda runs: median(runs, "words_per_s"), True),
        "one text, p50 ms": (lambda runs: median(runs, "b1", "p50_ms"), False),
        "one text, p99 ms": (lambda runs: median(runs, "b1", "p99_ms"), False),
        "process start to answer, ms": (lambda runs: 1e3 * (median(runs, "cold_start_s") or float("nan")), False),
    }
    print("\nText to answer, tokenization included; spaCy: one process, batches of 256.")
    print_columns(columns, results)
    print_ratios(columns, results, IS_OURS)
    print_failures(results)


MEASUREMENTS = {
    "training": (training, report_training, ["torch", "transformers"]),
    "fine_tuning": (fine_tuning, report_training, ["torch", "transformers"]),
    "step": (step, report_step, ["torch", "transformers"]),
    "inference": (run_inference, report_inference, ["torch", "transformers", "onnxruntime"]),
    "quickstart": (quickstart, report_quickstart, ["spacy"]),
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASUREMENTS)
    for name in ["--peers", "--data", "--work"]:
        parser.add_argument(name, required=True, type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, help="a Hugging Face folder; not for quickstart")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    names = lambda text: text.split(",")
    parser.add_argument("--sizes", type=names, default=list(SIZES), help="of 6x384 and 2x128")
    parser.add_argument("--share", type=float, default=0.15, help="training: of the rows of each set")
    parser.add_argument("--steps", type=int, default=30, help="step: steps that count")
    parser.add_argument("--inputs", type=names, default=["padded", "packed"], help="step: of padded and packed")
    parser.add_argument("--variants", type=names, default=["eager", "eager+fused", "bf16", "compile"], help="step: PyTorch's")
    parts = ["f32", "f32_fused", "int8", "int8_fused", "torch_eager", "torch_bf16"]
    parser.add_argument("--parts", type=names, default=parts, help="inference: the peers")
    parser.add_argument("--passes", type=int, default=3, help="inference, quickstart: over all texts")
    parser.add_argument("--singles", type=int, default=1000, help="inference, quickstart: texts one at a time")
    parser.add_argument("--starts", type=int, default=30, help="quickstart: processes started")
    arguments = parser.parse_args()
    if arguments.what != "quickstart" and arguments.model is None:
        parser.error("--model is missing")
    if not (PROGRAMS / "inference").exists():
        parser.error(f"build the programs first: {BUILD}")
    return arguments


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    measure, report, packages = MEASUREMENTS[arguments.what]
    facts = machine(arguments.threads, packages)
    results = measure(arguments)
    write_json(arguments.json, facts, results)
    print_machine(facts)
    report(results, arguments)


if __name__ == "__main__":
    main()
