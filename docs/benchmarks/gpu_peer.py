#!/usr/bin/env python3
"""The step of examples/training_step.rs in PyTorch, on a GPU.

    python3 docs/benchmarks/gpu_peer.py IDS.json --layers 6 --width 384 --heads 12

The same token ids in the same batches, the same encoder and heads: post-norm, 30,522 pieces, 512 learnt positions, a
feed-forward width of four times the width, dropout 0.1 everywhere; two texts' classes (7 and 2), each from a learnt query's
attention over the text, and 73 tags a token; forward, backward, clipping at norm 1, fused AdamW. Texts are padded to the
longest of their batch, and that to a multiple of 8, as its fused attention likes it. All batches lie on the device before
anything is timed; ours are packed and copied there within each step.

Whole rounds of steps are timed between two synchronizations, after --warm steps that do not count. --device cpu only tries the
program out. Each variant runs in a process of its own and prints one line of JSON. Needs torch and nothing else.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

VOCABULARY, POSITIONS, TAGS, DROPOUT = 30_522, 512, 73, 0.1
ROUNDS = 3
# Name → (in what products are computed, compiled?)
VARIANTS = {
    "eager-f32": ("f32", False),
    "eager-tf32": ("tf32", False),
    "eager-bf16": ("bf16", False),
    "compiled-f32": ("f32", True),
    "compiled-bf16": ("bf16", True),
}


def model_class(torch):
    """The classes need torch, which only the process that measures loads."""
    nn, F = torch.nn, torch.nn.functional

    class Layer(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)

        def forward(self, x, mask):
            texts, length, width = x.shape
            split = self.query_key_value(x).view(texts, length, 3, self.heads, width // self.heads)
            query, key, value = split.permute(2, 0, 3, 1, 4)
            dropout = DROPOUT if self.training else 0.0
            context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
            context = self.output(context.transpose(1, 2).reshape(texts, length, width))
            x = self.attention_norm(x + F.dropout(context, DROPOUT, self.training))
            return self.norm(x + F.dropout(self.outer(F.gelu(self.inner(x))), DROPOUT, self.training))

    class Model(nn.Module):
        def __init__(self, layers, width, heads):
            super().__init__()
            self.pieces, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(POSITIONS, width)
            self.norm = nn.LayerNorm(width)
            self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
            self.queries = nn.Linear(width, 2, bias=False)
            self.first, self.second, self.tags = nn.Linear(width, 7), nn.Linear(width, 2), nn.Linear(width, TAGS)
            for module in (self.pieces, self.positions):
                nn.init.normal_(module.weight, std=0.02)

        def forward(self, ids, positions, is_piece, first, second, tags):
            """The sum of the three losses."""
            x = self.norm(self.pieces(ids) + self.positions(positions))
            x = F.dropout(x, DROPOUT, self.training)
            mask = is_piece[:, None, None, :]
            for layer in self.layers:
                x = layer(x, mask)
            # [texts, length, 2]: where each of the two queries looks.
            weights = self.queries(x).masked_fill(~is_piece[:, :, None], -1e4).softmax(1).to(x.dtype)
            gathered = weights.transpose(1, 2) @ x
            losses = [F.cross_entropy(self.first(gathered[:, 0]), first)]
            losses += [F.cross_entropy(self.second(gathered[:, 1]), second)]
            losses += [F.cross_entropy(self.tags(x).flatten(0, 1), tags.flatten(), ignore_index=-100)]
            return sum(losses)

    return Model


def batch_tensors(torch, texts, first_text, device):
    """One padded batch: ids, positions, what is no padding, and the labels, as made up as ours."""
    length = -(-max(map(len, texts)) // 8) * 8
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    is_piece = torch.zeros(len(texts), length, dtype=torch.bool)
    tags = torch.full((len(texts), length), -100)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        is_piece[row, : len(text)] = True
        tags[row, : len(text)] = torch.arange(len(text)) % TAGS
    numbers = torch.arange(first_text, first_text + len(texts))
    positions = torch.arange(length).repeat(len(texts), 1)
    return [tensor.to(device) for tensor in (ids, positions, is_piece, numbers % 7, numbers % 2, tags)]


def measure(arguments, variant):
    import torch

    numbers, is_compiled = VARIANTS[variant]
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if numbers == "tf32" else "highest")
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    with open(arguments.ids, encoding="utf-8") as file:
        texts = json.load(file)["train"][: arguments.batch * (arguments.warm + arguments.steps)]
    starts = range(0, len(texts), arguments.batch)
    batches = [batch_tensors(torch, texts[start : start + arguments.batch], start, device) for start in starts]
    pieces = [sum(map(len, texts[start : start + arguments.batch])) for start in starts]

    model = model_class(torch)(arguments.layers, arguments.width, arguments.heads).to(device).train()
    run = torch.compile(model, dynamic=True) if is_compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

    def step(number):
        with torch.autocast(device.type, torch.bfloat16, enabled=numbers == "bf16"):
            loss = run(*batches[number % len(batches)])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    rest = torch.cuda.synchronize if on_gpu else lambda: None
    began = time.perf_counter()
    losses = [step(number) for number in range(arguments.warm)]
    rest()
    warm_seconds, measured = time.perf_counter() - began, range(arguments.warm, arguments.warm + arguments.steps)
    rounds = []
    for _ in range(ROUNDS):
        rest()
        start = time.perf_counter()
        for number in measured:
            losses.append(step(number))
        rest()
        rounds.append((time.perf_counter() - start) * 1e3 / arguments.steps)
    milliseconds = statistics.median(rounds)
    tokens = sum(pieces[number % len(pieces)] for number in measured) / arguments.steps
    kibibytes = torch.cuda.max_memory_reserved() / 1024 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "variant": variant,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "ms_per_step": round(milliseconds, 3),
        "rounds_ms": [round(value, 3) for value in rounds],
        "tokens_per_s": round(tokens / milliseconds * 1e3),
        "warm_s": round(warm_seconds, 2),
        "loss": [float(losses[0]), float(losses[-1])],
        "peak_mb": round(kibibytes / 1024),
        "torch": torch.__version__,
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", help='{"train": [[token id, …], …]}')
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32, help="texts a batch")
    parser.add_argument("--steps", type=int, default=30, help="of a round")
    parser.add_argument("--warm", type=int, default=5, help="steps before those that count, at least one")
    parser.add_argument("--device", default="cuda")
    names = lambda text: text.split(",")
    parser.add_argument("--variants", type=names, default=list(VARIANTS), help=f"of {','.join(VARIANTS)}")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.variants if name not in VARIANTS]
    if unknown:
        parser.error(f"no variant {unknown[0]}: there are {', '.join(VARIANTS)}")
    return arguments


def main():
    arguments = parse()
    if len(arguments.variants) == 1:
        print(json.dumps(measure(arguments, arguments.variants[0])), flush=True)
        return 0
    # The last --variants counts.
    runs = [subprocess.run([sys.executable, *sys.argv, "--variants", name]) for name in arguments.variants]
    return max(run.returncode != 0 for run in runs)


if __name__ == "__main__":
    sys.exit(main())
