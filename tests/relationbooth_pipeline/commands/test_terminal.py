"""The commands' own words: libraries are silent while a command runs, the package's warnings are shown once."""

import io
import logging
import sys
import warnings

from relationbooth_pipeline.commands.terminal import accept_any_text, own_words_only


def test_libraries_are_silent_and_our_warnings_are_shown_once(capsys, recwarn):
    ours = logging.getLogger("relationbooth_pipeline.relation_layouts")
    with own_words_only():
        warnings.warn("a library's deprecation", FutureWarning, stacklevel=1)
        for _ in range(2):
            ours.warning("the layout prior is for [2] objects")
        ours.info("a detail")
    shown = capsys.readouterr()
    assert shown.err == "Warning: the layout prior is for [2] objects\n" and not shown.out
    assert not recwarn.list
    with own_words_only():
        pass
    warnings.warn("afterwards as before", FutureWarning, stacklevel=1)
    assert len(recwarn.list) == 1
    assert not logging.getLogger("relationbooth_pipeline").handlers


def test_any_text_passes_any_encoding(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    accept_any_text()
    for stream in (sys.stdout, sys.stderr):
        stream.write("é Кот 🐻 \udcff")
        stream.flush()
        assert stream.buffer.getvalue() == b"\xe9 \\u041a\\u043e\\u0442 \\U0001f43b \\udcff"
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # cannot be reconfigured: left as it is
    accept_any_text()
