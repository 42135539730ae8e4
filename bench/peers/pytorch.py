#!/usr/bin/env python3
"""bench: what a user would run instead: PyTorch on the same cores, or on the same GPU. Prints one JSON line.

The net is scripts/fixtures/denseNet.py (checkpointing off, the faster choice; torchvision's own class for
densenet121, where torchvision is). A training step is zero_grad(set_to_none) + forward + loss + backward + SGD with Nesterov momentum on
one random batch that is in memory already, so data loading costs nothing. --device cuda does what ours does on a GPU: a step copies the
batch to the card (from pinned memory) and the loss or the logits back, which waits for the card. Without --amp a card that has TF32
convolves in it, as PyTorch does by default; ours multiplies in f32. --amp: autocast to bfloat16 (float16 on cards without it).
--compile: torch.compile with CUDA graphs (reduce-overhead), PyTorch 2 or later. With glibc, MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ set to
8589934592 in the environment keep freed memory and spare page faults: BC-40-12, batch 64, went from 73 to 93 images/s. The line
says which MALLOC settings there were, so that the peer can be shown at its best. Needs PyTorch (Debian: python3-torch python3-torchvision).
Examples:
  python3 bench/peers/pytorch.py --net BC-100-12 --mode train --batch 64 --layout channels_last --threads 2
  python3 bench/peers/pytorch.py --net densenet121 --mode train --batch 64 --device cuda --amp --compile
"""
import argparse
import json
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/fixtures"))
sys.dont_write_bytecode = True
from denseNet import DenseNet  # noqa: E402

# name: (growth, layers per block, first maps, bottleneck, parameters with 10 classes as the paper's nets have them)
CIFAR_NETS = {
    "40-12": (12, 12, 16, False, 1_019_722),
    "100-12": (12, 32, 16, False, 6_979_642),
    "BC-40-12": (12, 6, 24, True, None),
    "BC-100-12": (12, 16, 24, True, 769_162),
    "BC-250-24": (24, 41, 48, True, 15_324_406),
    "BC-190-40": (40, 31, 80, True, 25_624_430),
}


def build(name):
    if name == "densenet121":
        try:
            import torchvision
            net = torchvision.models.densenet121(weights=None)
        except ImportError:
            net = DenseNet(32, [6, 12, 24, 16], 64, stem="imagenet", classes=1000)
        return net, 1000, 224
    growth, layers, init, bottleneck, parameters = CIFAR_NETS[name]
    net = DenseNet(growth, [layers] * 3, init, bottleneck, compression=0.5 if bottleneck else 1.0)
    found = sum(p.numel() for p in net.parameters())
    if parameters is not None and found != parameters:
        raise SystemExit(f"{name}: {found} parameters, the paper's net has {parameters}")
    return net, 10, 32


def main():
    parser = argparse.ArgumentParser(description="Times PyTorch on a DenseNet and prints one JSON line.")
    parser.add_argument("--net", choices=[*CIFAR_NETS, "densenet121"], default="BC-100-12")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, help="height and width of an image; default 32, densenet121 224")
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="channels_last")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--amp", action="store_true", help="autocast to a 16-bit float")
    parser.add_argument("--compile", action="store_true", help="torch.compile, mode reduce-overhead")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=float, default=2, help="seconds of steps before timing, after three that set up")
    args = parser.parse_args()
    if min(args.batch, args.steps, args.threads) < 1:
        parser.error("--batch, --steps and --threads are at least 1")
    on_card = args.device == "cuda"
    if on_card and not torch.cuda.is_available():
        parser.error(f"PyTorch {torch.__version__} finds no CUDA device here")
    if args.compile and not hasattr(torch, "compile"):
        parser.error(f"--compile needs PyTorch 2, this is {torch.__version__}")

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net, classes, size = build(args.net)
    size = args.size or size
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    net = net.to(args.device, memory_format=layout)
    batch_images = torch.randn(args.batch, 3, size, size).contiguous(memory_format=layout)
    labels = torch.randint(0, classes, (args.batch,))
    if on_card:
        batch_images, labels = batch_images.pin_memory(), labels.pin_memory()
        torch.backends.cudnn.benchmark = True
    half = torch.bfloat16 if not on_card or torch.cuda.is_bf16_supported() else torch.float16
    forward = torch.compile(net, mode="reduce-overhead") if args.compile else net
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)

    def train_step():
        sgd.zero_grad(set_to_none=True)
        images, classes_of = batch_images.to(args.device, non_blocking=True), labels.to(args.device, non_blocking=True)
        with torch.autocast(args.device, dtype=half, enabled=args.amp):
            loss = F.cross_entropy(forward(images), classes_of)
        loss.backward()
        sgd.step()
        loss.item()

    def infer_step():
        with torch.inference_mode(), torch.autocast(args.device, dtype=half, enabled=args.amp):
            forward(batch_images.to(args.device, non_blocking=True)).cpu()

    net.train(args.mode == "train")
    step = train_step if args.mode == "train" else infer_step
    for _ in range(3):  # compiles, chooses cuDNN's algorithms, records CUDA graphs: minutes, in which the card rests
        step()
    warmed = 3
    warm_until = time.perf_counter() + args.warmup
    while time.perf_counter() < warm_until:
        step()
        warmed += 1
    if on_card:  # without what choosing algorithms and compiling took
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    median = statistics.median(times)
    print(json.dumps({
        "peer": "pytorch",
        "version": torch.__version__,
        "net": args.net,
        "mode": args.mode,
        "batch": args.batch,
        "size": size,
        "layout": args.layout,
        "device": torch.cuda.get_device_name() if on_card else "cpu",
        "cudnn": torch.backends.cudnn.version() if on_card else None,
        "tf32": on_card and torch.backends.cudnn.allow_tf32,
        "amp": str(half) if args.amp else None,
        "compile": args.compile,
        "threads": args.threads,
        "malloc": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
        "warmup": warmed,
        "steps": args.steps,
        "stepMs": [round(t, 3) for t in times],
        "medianMs": round(median, 3),
        "imagesPerSecond": round(args.batch / median * 1e3, 3),
        "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # ru_maxrss is in KiB on Linux
        "deviceBytes": torch.cuda.max_memory_reserved() if on_card else None,
    }))


main()
