"""Every command of every page is one that the programs' own parsers take."""

import argparse
import importlib
import re
import shlex
import sys

import pytest
import typer
from accelerate.commands.launch import launch_command_parser

from relationbooth_pipeline.commands.main import app
from relationbooth_pipeline.commands.train import PROGRAMS
from tests.docs.pages import ROOT, blocks_in, commands, words
from training.adapter import arguments as adapter_arguments
from training.encoder import arguments as encoder_arguments
from training.lora import arguments as lora_arguments

COMMANDS = sorted({(block.page, command) for block in blocks_in("bash") for command in commands(block.text)})
ELSEWHERE = {"git", "export", ".", "ruff", "venv", "pytest"}  # not ours, and nothing to look up
WITHOUT_OPTIONS = {"docs.files", "docs.api", "tests.golden"}


class Parsed(Exception):
    """A program has taken its arguments; it goes no further."""


def parse_module(name: str, arguments: list[str], monkeypatch) -> None:
    """Give `arguments` to the parser of a program of this repository."""
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")
    if name in WITHOUT_OPTIONS:
        return
    if name == "relationbooth_pipeline.commands":
        return parse_relationbooth(arguments, monkeypatch)
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, given=None, namespace=None):
        parse(parser, given, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(Parsed):
        module.main(*[arguments] * module.main.__code__.co_argcount)


def parse_relationbooth(arguments: list[str], monkeypatch) -> None:
    if arguments[0] == "train":
        return parse_module(f"training.{PROGRAMS[arguments[1]][0].removesuffix('.py')}", arguments[2:], monkeypatch)
    command, context = typer.main.get_command(app), None
    while hasattr(command, "commands") and arguments[0] in command.commands:
        context = typer.Context(command, parent=context)
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if arguments[-1:] in (["--help"], ["--version"]):
        assert arguments[-1] in {
            option for given in command.get_params(typer.Context(command)) for option in given.opts
        }
    else:
        command.make_context(command.name, arguments, parent=context)


def parse_pip(arguments: list[str]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"[\[,]([a-z_]+)(?=[\],])", " ".join(arguments)):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"pyproject.toml has no extra {extra!r}"


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_are_taken(page, command, monkeypatch):
    program, *arguments = [word for word in shlex.split(command) if word != "…"]  # and so on
    if program in ("python", "python3") and arguments[0] == "-m":
        program, *arguments = arguments[1:]
        if program not in ELSEWHERE:
            parse_module(program, arguments, monkeypatch)
    elif program == "relationbooth":
        parse_relationbooth(arguments, monkeypatch)
    elif program == "accelerate":
        given = launch_command_parser().parse_args(arguments[1:])
        assert arguments[0] == "launch" and given.module
        parse_module(given.training_script, given.training_script_args, monkeypatch)
    elif program == "torchrun":
        name = arguments.index("-m") + 1
        parse_module(arguments[name], arguments[name + 1 :], monkeypatch)
    elif program == "pip":
        parse_pip(arguments)
    else:
        assert program in ELSEWHERE, f"{page}: nobody checks {command!r}"


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("relationbooth generate --promt x", "No such option"),
        ("relationbooth train lora --pretrained_model_name_or_path x --max_trian_steps 5", "unrecognized arguments"),
        ("python -m benchmarks.denoising --sizes hug", "invalid choice"),
        ("pip install '.[cly]'", "no extra 'cly'"),
        ("relatoinbooth demo", "nobody checks"),
    ],
)
def test_a_wrong_command_is_found(command, fault, monkeypatch, capsys):
    with pytest.raises((SystemExit, Exception)) as raised:
        test_commands_are_taken("", command, monkeypatch)
    assert re.search(fault, str(raised.value) + capsys.readouterr().err)


def test_the_training_guide_s_words_and_tables_name_real_options():
    parsers = [module.build_parser() for module in (lora_arguments, adapter_arguments, encoder_arguments)]
    known = {option for parser in parsers for option in parser._option_string_actions}
    prose = re.sub(r"^```.*?^```$", "", words("docs/training.md"), flags=re.MULTILINE | re.DOTALL)
    named = {flag for code in re.findall(r"`([^`]+)`", prose) for flag in re.findall(r"--\w+", code)}
    others = {"--num_processes", "--config_file"}  # accelerate's
    others |= {"--sizes", "--memory_only", "--output_dir", "--tables"}  # other programs'
    others |= {"--fix"}  # of `relationbooth triplets`
    assert len(named) > 30 and named <= known | others
