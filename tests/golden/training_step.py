"""One training step of a small multi-task model, computed by PyTorch in float64 and written in float32.

    python tests/golden/training_step.py        needs torch and safetensors (made with torch 2.15, safetensors 0.8)

The model is written here from its formulas, once with the layer norms before each block (`pre.`) and once after
(`post.`): no dropout, exact GELU, attention within each text only, three tasks on one encoder.

    embeddings, then a norm; then in each layer
    pre    x ← x + attention(norm(x));   x ← x + feed_forward(norm(x));   a last norm after all layers
    post   x ← norm(x + attention(x));   x ← norm(x + feed_forward(x))

Beside this script: training_step.safetensors, with, all F32,
    inputs.*                   piece ids and labels as whole numbers, text lengths
    {pre,post}.parameters.*    before the step
    {pre,post}.logits.*        of each task
    {pre,post}.losses.*        of each task, and `total` = Σ weight · loss
    {pre,post}.gradients.*     of the total, before clipping
    {pre,post}.gradient_norm   of all of them together
    {pre,post}.updated.*       after clipping to norm 1 and one step of AdamW
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

LAYERS, WIDTH, HEADS, FEED_FORWARD = 2, 8, 2, 16
VOCABULARY = 7  # every piece and every position occurs in the batch: then sparse and dense updates agree
LENGTHS = [3, 1, 5]
PIECES = [2, 0, 6, 3, 1, 4, 4, 5, 2]
EPSILON = 1e-5
LEARNING_RATE, BETAS, ADAM_EPSILON, WEIGHT_DECAY, CLIP_NORM = 1e-3, (0.9, 0.999), 1e-8, 0.01, 1.0

# name: (classes, loss weight, labels, whether a label belongs to each token instead of each text)
TASKS = {
    "topic": (4, 1.0, [3, 0, 1], False),
    "sentiment": (3, 0.5, [2, 1, 0], False),
    "tagger": (5, 2.0, [0, 1, 4, 2, 2, 3, 0, 1, 0], True),
}

# What each parameter is called in the file; `{i}` is the layer, `{task}` the task's name.
NAMES = {
    "pieces": "encoder.embeddings.pieces.weight",
    "positions": "encoder.embeddings.positions.weight",
    "embedding_norm": "encoder.embeddings.norm",
    "query": "encoder.layers.{i}.attention.query",
    "key": "encoder.layers.{i}.attention.key",
    "value": "encoder.layers.{i}.attention.value",
    "output": "encoder.layers.{i}.attention.output",
    "attention_norm": "encoder.layers.{i}.attention_norm",
    "up": "encoder.layers.{i}.feed_forward.up",
    "down": "encoder.layers.{i}.feed_forward.down",
    "feed_forward_norm": "encoder.layers.{i}.feed_forward_norm",
    "last_norm": "encoder.norm",
    "task_query": "tasks.{task}.attention.query",
    "head": "tasks.{task}.head",
    "weight": ".weight",
    "bias": ".bias",
    "gain": ".gain",
}


class Model:
    """The parameters by their names in the file, and the forward pass."""

    def __init__(self, norm, seed):
        self.norm = norm
        self.parameters = {}
        self.generator = torch.Generator().manual_seed(seed)
        self.make(NAMES["pieces"], [VOCABULARY, WIDTH])
        self.make(NAMES["positions"], [max(LENGTHS), WIDTH])
        self.make_norm(NAMES["embedding_norm"])
        for i in range(LAYERS):
            for which in ["query", "key", "value", "output"]:
                self.make_linear(NAMES[which].format(i=i), WIDTH, WIDTH)
            self.make_linear(NAMES["up"].format(i=i), WIDTH, FEED_FORWARD)
            self.make_linear(NAMES["down"].format(i=i), FEED_FORWARD, WIDTH)
            self.make_norm(NAMES["attention_norm"].format(i=i))
            self.make_norm(NAMES["feed_forward_norm"].format(i=i))
        if norm == "pre":
            self.make_norm(NAMES["last_norm"])
        for task, (classes, _, _, by_token) in TASKS.items():
            if not by_token:
                self.make(NAMES["task_query"].format(task=task), [1, WIDTH])
            self.make_linear(NAMES["head"].format(task=task), WIDTH, classes)

    def make(self, name, shape, mean=0.0, deviation=0.5):
        values = mean + deviation * torch.randn(shape, generator=self.generator)  # float32: the file holds it exactly
        self.parameters[name] = values.double().requires_grad_()

    def make_linear(self, name, inputs, outputs):
        self.make(name + NAMES["weight"], [outputs, inputs])
        self.make(name + NAMES["bias"], [outputs], deviation=0.1)

    def make_norm(self, name):
        self.make(name + NAMES["gain"], [WIDTH], mean=1.0, deviation=0.1)
        self.make(name + NAMES["bias"], [WIDTH], deviation=0.1)

    def linear(self, name, x):
        return functional.linear(x, self.parameters[name + NAMES["weight"]], self.parameters[name + NAMES["bias"]])

    def layer_norm(self, name, x):
        gain, bias = self.parameters[name + NAMES["gain"]], self.parameters[name + NAMES["bias"]]
        return functional.layer_norm(x, [WIDTH], gain, bias, EPSILON)

    def attention(self, i, x):
        query, key, value = (self.linear(NAMES[w].format(i=i), x) for w in ["query", "key", "value"])
        head_width = WIDTH // HEADS
        heads = []
        for h in range(HEADS):
            columns = slice(h * head_width, (h + 1) * head_width)
            scores = query[:, columns] @ key[:, columns].T / math.sqrt(head_width)
            heads.append(scores.softmax(1) @ value[:, columns])
        return self.linear(NAMES["output"].format(i=i), torch.cat(heads, 1))

    def feed_forward(self, i, x):
        hidden = functional.gelu(self.linear(NAMES["up"].format(i=i), x), approximate="none")
        return self.linear(NAMES["down"].format(i=i), hidden)

    def encode(self, pieces):
        """The states [tokens, width] of one text."""
        x = self.parameters[NAMES["pieces"]][pieces] + self.parameters[NAMES["positions"]][: len(pieces)]
        x = self.layer_norm(NAMES["embedding_norm"], x)
        for i in range(LAYERS):
            blocks = [(self.attention, "attention_norm"), (self.feed_forward, "feed_forward_norm")]
            for block, norm in blocks:
                name = NAMES[norm].format(i=i)
                if self.norm == "pre":
                    x = x + block(i, self.layer_norm(name, x))
                else:
                    x = self.layer_norm(name, x + block(i, x))
        return self.layer_norm(NAMES["last_norm"], x) if self.norm == "pre" else x

    def logits(self, task, by_token, texts):
        """One row a token, or one a text: Σ_i softmax(x β)_i x_i through the head."""
        head = NAMES["head"].format(task=task)
        if by_token:
            return self.linear(head, torch.cat(texts))
        query = self.parameters[NAMES["task_query"].format(task=task)][0]
        pooled = [(x @ query).softmax(0) @ x for x in texts]
        return self.linear(head, torch.stack(pooled))


def training_step(norm, seed):
    """All tensors of one variant, by name."""
    model = Model(norm, seed)
    tensors = {f"parameters.{name}": values.detach().clone() for name, values in model.parameters.items()}
    texts = [model.encode(pieces) for pieces in torch.tensor(PIECES).split(LENGTHS)]
    total = torch.zeros((), dtype=torch.float64)
    for task, (_, weight, labels, by_token) in TASKS.items():
        logits = model.logits(task, by_token, texts)
        loss = functional.cross_entropy(logits, torch.tensor(labels))
        tensors[f"logits.{task}"] = logits.detach()
        tensors[f"losses.{task}"] = loss.detach()
        total = total + weight * loss
    tensors["losses.total"] = total.detach()

    total.backward()
    for name, values in model.parameters.items():
        tensors[f"gradients.{name}"] = values.grad.clone()
    parameters = list(model.parameters.values())
    tensors["gradient_norm"] = torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)

    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=ADAM_EPSILON).step()
    tensors |= {f"updated.{name}": values.detach() for name, values in model.parameters.items()}
    return tensors


def in_file_layout(tensors):
    """A matrix is [inputs, outputs] in the file, and query, key and value are one."""
    file = {name: t.T if name.endswith(NAMES["weight"]) and "embeddings" not in name else t for name, t in tensors.items()}
    for name in [name for name in file if ".attention.query." in name]:
        parts = [file.pop(name.replace(".query.", f".{which}.")) for which in ["query", "key", "value"]]
        file[name.replace(".query.", ".query_key_value.")] = torch.cat(parts, -1)
    return file


def check(norm, tensors):
    """The first step of Adam moves a value by its gradient's sign: no gradient may lie so near to 0 that float32 cannot
    tell it. A key's bias moves no attention weight, so its gradient is 0 exactly, and only rounding elsewhere."""
    assert tensors["gradient_norm"] > CLIP_NORM, "the clipping does nothing"
    smallest = min(
        values.abs().min().item()
        for name, values in tensors.items()
        if name.startswith("gradients.") and not name.endswith("attention.key.bias")
    )
    print(f"{norm}: gradient norm {tensors['gradient_norm'].item():.4f}, smallest gradient {smallest:.1e}")
    assert smallest > 1e-5, "choose another seed"


def main():
    file = {
        "inputs.pieces": torch.tensor(PIECES),
        "inputs.lengths": torch.tensor(LENGTHS),
        **{f"inputs.labels.{task}": torch.tensor(labels) for task, (_, _, labels, _) in TASKS.items()},
    }
    for norm, seed in SEEDS.items():
        tensors = training_step(norm, seed)
        check(norm, tensors)
        file |= {f"{norm}.{name}": values for name, values in in_file_layout(tensors).items()}
    file = {name: values.float().contiguous() for name, values in file.items()}
    path = Path(__file__).with_suffix(".safetensors")
    save_file(file, path)
    for name, values in file.items():
        print(name, list(values.shape))
    print(f"{path.name}: {len(file)} tensors, {path.stat().st_size} bytes")


SEEDS = {"pre": 3, "post": 3}

if __name__ == "__main__":
    main()
