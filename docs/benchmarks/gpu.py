#!/usr/bin/env python3
"""The tests that need a GPU, and the training step beside PyTorch's there: built on one machine, run on another.

    python3 docs/benchmarks/gpu.py build --data DIR      where Rust is: programs and token ids, into target/gpu
    python3 docs/benchmarks/gpu.py run --out DIR         where the GPU is: needs python3, torch and this checkout with target/gpu

`run` ends within --budget seconds; what no longer fits is left out, and said to be. It writes results.json, table.md and
log.txt into --out, and its exit status is 0 where no test failed.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import gpu_parts
import gpu_peer
from measuring import ROOT, table

# Name → what Cargo builds; tests that need a path of the machine that built them; those that sanitizers watch.
TESTS = {
    "tensor": (
        ["-p", "polytask-tensor", "--lib", "--features", "cuda"], [], ["gradients_agree", "each_device", "on_a_gpu"]
    ),
    "trainer": (["-p", "polytask-trainer", "--lib", "--features", "cuda"], [], ["a_gpu_takes_the_steps"]),
    "device": (["-p", "polytask-tests", "--test", "device"], ["a_gpu_that_is_not_there"], ["a_model_answers_alike"]),
}
PROGRAMS = ["polytask", "training_step"]
PROGRAM_PACKAGES = ["-p", "polytask-cli", "-p", "polytask-examples"]
MOST_MIB = 60
# Of the budget: so much must be left for what is timed.
SHARE_OF_BENCHMARK = 0.6
VOCABULARY = 30_522

SIZES = {"6 × 384": (6, 384, 12), "12 × 768": (12, 768, 12), "24 × 1024": (24, 1024, 16)}
OURS = ["f32", "bf16"]
# What the table adds to a name, and the options of training_step that it stands for.
LAUNCHES = {"": [], ", graphs": ["--graphs"]}
EAGER = [name for name, (_, is_compiled) in gpu_peer.VARIANTS.items() if not is_compiled]
COMPILED = [name for name, (_, is_compiled) in gpu_peer.VARIANTS.items() if is_compiled]
SANITIZERS = {
    "memcheck": [],
    # The library's own kernels are not ours to check, and take long.
    "racecheck": ["--kernel-name-exclude", "regex=gemm|gemv|cutlass|xmma|nvjet|splitK|cublas"],
}


def cargo(verb, arguments):
    """Builds in the release profile, stripped; the executables, each with whether it is a test."""
    command = ["cargo", verb, "--release", "--message-format=json-render-diagnostics", *arguments]
    environment = {**os.environ, "CARGO_PROFILE_RELEASE_STRIP": "true"}
    print(" ".join(command), flush=True)
    run = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"cargo {verb} failed")
    messages = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    built = [message for message in messages if message.get("executable")]
    return [(message["target"]["name"], message["profile"]["test"], message["executable"]) for message in built]


def token_ids(data):
    """Random ids; as many a text as a word-piece tokenizer would about cut, with its two special pieces: 1.3 a word and 2."""
    generator = random.Random(0)
    lines = (data / "snips" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    lengths = [round(1.3 * len(json.loads(line)["text"].split())) + 2 for line in lines]
    generator.shuffle(lengths)
    return [[generator.randrange(1000, VOCABULARY) for _ in range(length)] for length in lengths]


def build(arguments):
    out = arguments.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    manifest = {"tests": {}, "programs": {}}
    for name, (what, _, _) in TESTS.items():
        tests = [path for _, is_test, path in cargo("test", ["--no-run", *what]) if is_test]
        if len(tests) != 1:
            sys.exit(f"{name}: expected one test program, found {tests}")
        manifest["tests"][name] = f"{name}_tests"
        shutil.copy(tests[0], out / f"{name}_tests")
    bins = [part for name in PROGRAMS for part in ("--bin", name)]
    for name, _, path in cargo("build", [*PROGRAM_PACKAGES, *bins]):
        manifest["programs"][name] = name
        shutil.copy(path, out / name)
    if arguments.data:
        ids = token_ids(arguments.data)
        (out / "IDS.json").write_text(json.dumps({"train": ids}, separators=(",", ":")), encoding="utf-8")
        manifest["ids"] = "IDS.json"
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    mebibytes = sum(file.stat().st_size for file in out.iterdir()) / 2**20
    print(f"{out}: {mebibytes:.1f} MiB, {', '.join(sorted(file.name for file in out.iterdir()))}")
    return 0 if mebibytes < MOST_MIB else f"more than {MOST_MIB} MiB"


def card():
    """The GPU, its driver and PyTorch; None where there is no GPU."""
    facts = {}
    program = shutil.which("nvidia-smi") or "/usr/local/nvidia/bin/nvidia-smi"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        run = subprocess.run(query, capture_output=True, text=True, timeout=30)
        if run.returncode == 0 and run.stdout.strip():
            facts["nvidia-smi"] = run.stdout.strip()
    program = "import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())"
    with contextlib.suppress(subprocess.TimeoutExpired):
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        version, _, name = run.stdout.strip().partition(" ")
        facts["torch"] = version or (run.stderr.strip().splitlines() or ["not installed"])[-1]
        facts["torch's GPU"] = name if name not in ("", "False") else None
    return facts if "nvidia-smi" in facts or facts.get("torch's GPU") else None


def library_folders():
    """Where PyTorch's wheels, or a toolkit, have CUDA's libraries."""
    folders = []
    torch = importlib.util.find_spec("torch")
    if torch is not None:
        package = pathlib.Path(torch.origin).parent
        folders += [*sorted(package.parent.glob("nvidia/*/lib")), package / "lib"]
    folders.append(pathlib.Path("/usr/local/cuda/lib64"))
    return [folder for folder in folders if folder.is_dir()]


def library_path(links):
    """LD_LIBRARY_PATH with these folders. Wheels have libraries under their version's name alone: links give them the plain one."""
    folders = library_folders()
    for name in ("libcublasLt.so", "libnccl.so"):
        found = [file for folder in folders for file in sorted(folder.glob(f"{name}*"))]
        if found:
            (links / name).symlink_to(found[0].resolve())
    paths = [links, *folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": ":".join(map(str, paths)), "RUST_BACKTRACE": "0"}


def sanitizer():
    """compute-sanitizer's path; None where there is none."""
    places = [folder.parent / "bin" / "compute-sanitizer" for folder in library_folders()]
    return shutil.which("compute-sanitizer") or next((str(place) for place in places if place.is_file()), None)


class Suite:
    """What `run` does, part by part."""

    def __init__(self, arguments, scratch):
        self.arguments, self.scratch, self.built = arguments, scratch, arguments.built
        self.manifest = json.loads((self.built / "manifest.json").read_text(encoding="utf-8"))
        self.parts = gpu_parts.Parts(arguments.out, arguments.budget)
        self.environment = library_path(scratch)
        for name in [*self.manifest["tests"].values(), *self.manifest["programs"].values()]:
            with contextlib.suppress(OSError):
                (self.built / name).chmod(0o755)
        ids = arguments.ids or self.manifest.get("ids") and self.built / self.manifest["ids"]
        self.ids = ids if ids and ids.exists() else None
        self.times = {}

    def program(self, name):
        return self.built / self.manifest["programs"][name]

    def tests(self):
        """All tests. Those of devices pass over a GPU that cannot be opened, so a step there comes first."""
        ids, step = self.scratch / "ids.json", ["--device", "cuda", "--layers", 1, "--width", 64, "--heads", 2]
        ids.write_text(json.dumps({"train": [[5, 6, 7, 8], [9, 10]] * 8}), encoding="utf-8")
        for precision, (added, options) in itertools.product(OURS, LAUNCHES.items()):
            command = [self.program("training_step"), ids, *step, "--steps", 2, "--precision", precision, *options]
            self.parts.run(f"a first step, {precision}{added}", command, 5, 60, self.environment)
        for name, file in self.manifest["tests"].items():
            skipped = [part for test in TESTS[name][1] for part in ("--skip", test)]
            self.parts.run(f"tests of {name}", [self.built / file, *skipped], 10, 120, self.environment)
        configuration = ROOT / "examples" / "quickstart.toml"
        command = [self.program("polytask"), "train", configuration, "--device", "cuda", "--json"]
        command += ["--set", "trainer.epochs=1", "--out", self.scratch / "model"]
        self.parts.run("polytask train --device cuda", command, 5, 60, self.environment)

    def sanitized(self):
        tool = sanitizer()
        if tool is None:
            self.parts.note("compute-sanitizer", "absent", said=["neither on PATH nor beside CUDA's libraries"])
            return
        for kind, options in SANITIZERS.items():
            for name, file in self.manifest["tests"].items():
                command = [tool, "--tool", kind, "--error-exitcode", 99, "--print-limit", 20, *options]
                command += [self.built / file, *TESTS[name][2], "--test-threads", 1]
                self.parts.run(f"{kind}, tests of {name}", command, 10, 45, self.environment)

    def size(self, shape):
        layers, width, heads = shape
        options = {"layers": layers, "width": width, "heads": heads, "batch": self.arguments.batch}
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def peer(self, size, variant, steps):
        script = pathlib.Path(gpu_peer.__file__).resolve()
        return [sys.executable, script, self.ids, *self.size(SIZES[size]), *steps, "--variants", variant]

    @contextlib.contextmanager
    def compiling(self):
        """Fills PyTorch's cache of compiled models beside what is not timed: compiling takes longer than all else."""
        steps, environment = ["--steps", 1, "--warm", 8], {"TORCHINDUCTOR_CACHE_DIR": str(self.scratch / "inductor")}
        self.cache = environment
        cases = [self.peer(size, variant, steps) for variant in COMPILED for size in SIZES] if self.ids else []
        processes = [gpu_parts.start(case, environment, subprocess.DEVNULL) for case in cases]
        try:
            yield
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(self.parts.seconds_left() - SHARE_OF_BENCHMARK * self.arguments.budget, 0))
        finally:
            for process in processes:
                gpu_parts.stop(process)

    def benchmark(self):
        """Size by size: ours and PyTorch's as it comes first, then its compiled variants."""
        if self.ids is None:
            self.parts.note("benchmark", "skipped", said=["there is no IDS.json: build with --data, or name one with --ids"])
            return
        steps = ["--steps", self.arguments.steps, "--warm", self.arguments.warm]
        for size, shape in SIZES.items():
            for precision, (added, options) in itertools.product(OURS, LAUNCHES.items()):
                command = [self.program("training_step"), self.ids, *self.size(shape), *steps]
                command += ["--device", "cuda", "--threads", os.cpu_count(), "--precision", precision, *options]
                self.time(size, f"polytask {precision}{added}", command, 10, 60, self.environment)
            for variant in EAGER:
                self.time(size, f"PyTorch {variant}", self.peer(size, variant, steps), 10, 60, {})
        for size in SIZES:
            for variant in COMPILED:
                self.time(size, f"PyTorch {variant}", self.peer(size, variant, steps), 20, 150, self.cache)

    def time(self, size, name, command, *limits):
        result = self.parts.run(f"{size}, {name}", command, *limits)["result"]
        self.times.setdefault(size, {})[name] = result

    def tables(self):
        """One table a size; PyTorch's compiled step in the same numbers is 1."""
        heads = ["", "ms a step", "real tokens/s", "of the products alone", "× PyTorch compiled", "peak MiB of the GPU"]
        for size, results in self.times.items():
            compiled = {name: results.get(f"PyTorch compiled-{name}") for name in OURS}
            rows = []
            for name, result in results.items():
                result = result or {}
                beside, milliseconds = compiled["bf16" if "bf16" in name else "f32"], result.get("ms_per_step")
                ratio = beside["ms_per_step"] / milliseconds if beside and milliseconds else None
                values = [result.get(key) for key in ("tokens_per_s", "fraction_of_floor")]
                rows.append([name, milliseconds, *values, ratio, result.get("peak_mb")])
            yield f"{size}, batches of {self.arguments.batch} texts\n\n{table(heads, rows)}\n"


def run(arguments):
    if not (arguments.built / "manifest.json").exists():
        return f"there is no {arguments.built / 'manifest.json'}: run `gpu.py build` where Rust is, and bring the folder here"
    facts = card()
    if facts is None:
        return "there is no GPU: neither nvidia-smi nor torch finds one, and every part of `run` needs one"
    print(" · ".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        suite = Suite(arguments, pathlib.Path(scratch))
        try:
            with suite.compiling():
                suite.tests()
                suite.sanitized()
            suite.benchmark()
        finally:
            tables = "\n".join(suite.tables())
            results = {"machine": facts, "parts": suite.parts.done}
            (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            (arguments.out / "table.md").write_text(tables, encoding="utf-8")
    failed = suite.parts.failed()
    print(f"\n{tables}\n{'failed: ' + '; '.join(failed) if failed else 'nothing failed'}", flush=True)
    return 1 if failed else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    builder = verbs.add_parser("build")
    builder.set_defaults(call=build)
    builder.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "gpu")
    builder.add_argument("--data", type=pathlib.Path, help="a folder with snips/train.jsonl, for lengths of texts")
    runner = verbs.add_parser("run")
    runner.set_defaults(call=run)
    runner.add_argument("--built", type=pathlib.Path, default=ROOT / "target" / "gpu")
    runner.add_argument("--out", type=pathlib.Path, required=True)
    runner.add_argument("--ids", type=pathlib.Path, help="instead of the built IDS.json")
    runner.add_argument("--budget", type=float, default=540, help="seconds")
    runner.add_argument("--batch", type=int, default=32)
    runner.add_argument("--steps", type=int, default=30)
    runner.add_argument("--warm", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    sys.exit(arguments.call(arguments))
