"""Whether other programs get from an exported model what polytask answers.

    python3 docs/benchmarks/export_check.py MODEL_DIR HF_DIR MODEL.onnx TEXTS      needs transformers, torch, onnx, onnxruntime

MODEL_DIR is a trained model with a pretrained encoder, HF_DIR and MODEL.onnx what `polytask export` made of it, TEXTS a text
a line. It reports

    states      transformers' states of HF_DIR, through the heads of MODEL_DIR in numpy, beside the logits of MODEL.onnx
    answers     ONNX Runtime's answers of MODEL.onnx beside those of `polytask predict --json`
"""

import argparse
import json
import subprocess

import numpy
import onnx
import onnxruntime
import torch
from measuring import PROGRAMS
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer


def softmax(x):
    x = numpy.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def allowed(before, after):
    """I-x comes only after B-x or I-x; `before` is None at the beginning. Tags: O, then B-x and I-x of each type."""
    inside = after % 2 == 0 and after > 0
    return not inside or before in (after - 1, after)


def chain(task):
    """The scores of a CRF: of a beginning, of each step and of an end, with what may not be as -inf."""
    tags = task["outputs"]
    start, end, steps = (
        numpy.array(task["parameters"][f"crf.{name}"]) for name in ("start", "end", "transitions")
    )
    start = numpy.where([allowed(None, b) for b in range(tags)], start, -numpy.inf)
    steps = numpy.where([[allowed(a, b) for b in range(tags)] for a in range(tags)], steps, -numpy.inf)
    return start, steps, end


def viterbi(task, logits):
    start, steps, end = chain(task)
    score, back = start + logits[0], []
    for row in logits[1:]:
        paths = score[:, None] + steps
        back.append(paths.argmax(0))
        score = paths.max(0) + row
    path = [int((score + end).argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]


def entities(task, tags, words):
    """[type, start, end] of each entity, in characters."""
    found, types = [], task["task"]["labels"]
    for tag, (start, end) in zip(tags, words, strict=True):
        if tag > 0 and tag % 2 == 1:
            found.append([types[(tag - 1) // 2], start, end])
        elif tag > 0:
            found[-1][2] = end
    return found


def places_of(text, words):
    places, at = [], 0
    for word in words:
        at = text.index(word, at)
        places.append((at, at + len(word)))
        at += len(word)
    return places


def word_logits(logits, encoding, words):
    """The means of a word's pieces: a piece belongs to the word in which it begins, or else to the next one; a word without
    any has what stands before it."""
    sums, counts = numpy.zeros((len(words), logits.shape[1])), numpy.zeros((len(words), 1))
    for row, (start, end), special in zip(
        logits, encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True
    ):
        word = next((i for i, (_, word_end) in enumerate(words) if start < word_end), None)
        if not special and word is not None:
            sums[word] += row
            counts[word] += 1
    means, last = [], logits[0]
    for total, count in zip(sums, counts, strict=True):
        last = total / count if count > 0 else last
        means.append(last)
    return numpy.array(means)


def heads(tensors, tasks, states):
    """Every task's logits from the states, by the formulas."""
    for task in tasks:
        name, x = f"tasks.{task['name']}", states
        if task["level"] == "text":
            weights = softmax(tensors[f"{name}.attention.query"] @ states.T)
            x = (weights @ states).reshape(1, -1)
        yield x @ tensors[f"{name}.head.weight"] + tensors[f"{name}.head.bias"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for argument in ("model", "hugging_face", "onnx", "texts"):
        parser.add_argument(argument)
    arguments = parser.parse_args()
    command = [PROGRAMS / "polytask", "predict", arguments.model, "--attention"]
    answers = [json.loads(line) for line in subprocess.run(command, stdin=open(arguments.texts, "rb"), capture_output=True, check=True).stdout.splitlines()]

    onnx.checker.check_model(arguments.onnx, full_check=True)
    session = onnxruntime.InferenceSession(arguments.onnx)
    metadata = session.get_modelmeta().custom_metadata_map
    tasks = json.loads(metadata["tasks"])
    tokenizer = AutoTokenizer.from_pretrained(arguments.hugging_face)
    encoder = AutoModel.from_pretrained(arguments.hugging_face).eval()
    tensors = load_file(f"{arguments.model}/model.safetensors")

    difference, confidence, different = 0.0, 0.0, {task["name"]: 0 for task in tasks}
    for answer in answers:
        encoding = tokenizer(answer["text"], return_offsets_mapping=True, return_special_tokens_mask=True)
        ids = numpy.array([encoding["input_ids"]])
        with torch.no_grad():
            states = encoder(input_ids=torch.tensor(ids)).last_hidden_state[0].numpy()
        outputs = session.run(None, {"input_ids": ids})
        for logits, expected in zip(outputs, heads(tensors, tasks, states), strict=True):
            difference = max(difference, abs(logits - expected).max())
        words = places_of(answer["text"], answer["attention"]["words"])
        for task, logits in zip(tasks, outputs, strict=True):
            told = answer["tasks"][task["name"]]
            if task["level"] == "text":
                probabilities = softmax(logits[0])
                same = told["label"] == task["task"]["labels"][probabilities.argmax()]
                confidence = max(confidence, abs(told["confidence"] - probabilities.max()))
            else:
                tags = viterbi(task, word_logits(logits, encoding, words)) if words else []
                same = [[e["type"], e["start"], e["end"]] for e in told] == entities(task, tags, words)
            different[task["name"]] += not same
    print(f"{len(answers)} texts: logits differ by {difference:.1e} at most, confidences by {confidence:.1e}")
    print(f"other answers: {different}")


if __name__ == "__main__":
    main()
