"""Runs diffusers' fast SDXL tests on the stock pipeline and on ours, and compares what fails.

    pip install parameterized requests_mock
    git clone --branch v0.42.1 https://github.com/huggingface/diffusers
    python -m tests.upstream diffusers

The tests of another version than the installed one run too, but more of them fail, on both pipelines. `--offline`
replaces their tokenizer by a tiny one of ours, so tests that compare recorded numbers fail on both.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASE = "tests/pipelines/stable_diffusion_xl/test_relationbooth.py"
# Where the Hub cannot be reached: a stand-in for the tokenizer that the tests take from it.
OFFLINE = """
import importlib.util, os
from transformers import CLIPTokenizer

spec = importlib.util.spec_from_file_location("relationbooth_tiny", os.environ["RELATIONBOOTH_TINY"])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
real = CLIPTokenizer.from_pretrained

def from_pretrained(name, *args, **kwargs):
    return tiny.tiny_tokenizer() if str(name).startswith("hf-internal-testing/") else real(name, *args, **kwargs)

CLIPTokenizer.from_pretrained = from_pretrained
"""


def outcomes(checkout: Path, offline: bool, more: list[str]) -> dict[str, dict[str, str]]:
    """{"TestStock", "TestOurs"} → {test: "PASSED", "FAILED", "SKIPPED", …}."""
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(checkout / "tests", Path(temporary) / "tests")
        shutil.copyfile(Path(__file__).with_name("sdxl_case.py"), Path(temporary) / CASE)
        if offline:
            (Path(temporary) / CASE).with_name("conftest.py").write_text(OFFLINE, encoding="utf-8")
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RELATIONBOOTH_TINY": str(ROOT / "tests" / "tiny.py"),
            "DIFFUSERS_TEST_DEVICE": "cpu",
        }
        command = [sys.executable, "-m", "pytest", CASE, "-v", "--tb=line", "-p", "no:cacheprovider", *more]
        done = subprocess.run(command, cwd=temporary, env=environment, capture_output=True, text=True)
    found: dict[str, dict[str, str]] = {"TestStock": {}, "TestOurs": {}}
    for kind, name, outcome in re.findall(r"::(TestStock|TestOurs)::(\w+) ([A-Z]+)", done.stdout):
        found[kind][name] = outcome
    if not found["TestOurs"]:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of diffusers' repository")
    parser.add_argument("--offline", action="store_true", help="with a tiny tokenizer of ours instead of the Hub's")
    parser.add_argument("more", nargs="*", help="further options of pytest, after --")
    given = parser.parse_args()
    found = outcomes(given.checkout, given.offline, given.more)
    stock, ours = found["TestStock"], found["TestOurs"]
    worse = [name for name in ours if ours[name] not in ("PASSED", "SKIPPED") and stock.get(name) in ("PASSED", None)]
    for name in sorted(ours):
        if ours[name] != "PASSED" or stock.get(name) != "PASSED":
            print(f"{name}: stock {stock.get(name)}, ours {ours[name]}")
    print(f"{sum(o == 'PASSED' for o in ours.values())} of {len(ours)} pass; {len(worse)} fail on ours alone: {worse}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
