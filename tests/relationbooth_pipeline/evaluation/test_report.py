"""The page, the votes of people, and the blind ballot over HTTP."""

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from relationbooth_pipeline.evaluation.finishing import ballot, finish
from relationbooth_pipeline.evaluation.report import Vote, add_vote, read_votes
from relationbooth_pipeline.evaluation.report.ballot import Ballot

from .tiny_bench import pair, single, write_bench
from .tiny_run import finished, run_options


@pytest.fixture
def run(models, tmp_path):
    cases = [
        pair("pair-0", prompt="a cat is hugging a bear</script><b>&"),
        pair("pair-1"),
        single("s-0"),
        single("s-1"),
    ]
    bench = write_bench(tmp_path / "bench", cases)
    return finished(run_options(bench.folder, tmp_path / "run", models, against="collage"))


def test_the_page_holds_everything_and_asks_for_nothing(run):
    told = finish(run, True)
    text = (run.root / "report.html").read_text(encoding="utf-8")
    assert told[-1] == str(run.root / "report.html") and text.count("</script>") == 2
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert [table["title"] for table in data["tables"]] == [
        "all, 4 cases",
        "one object, 2 cases",
        "two objects, 2 cases",
    ]
    assert list(data["tables"][0]["differences"]) == ["mine − collage", "shuffled-mine − collage"]
    case = data["cases"][0]
    assert case["prompt"].endswith("</script><b>&") and len(case["references"][1]) == 3
    assert all(len(case["pictures"][s]) == 2 for s in data["systems"]) and len(data["published"]) == 5
    assert all(picture.startswith("data:image/webp;base64,") for picture in case["pictures"]["mine"])
    markdown = (run.root / "report.md").read_text(encoding="utf-8")
    assert "### two objects, 2 cases" in markdown and "100·cos (relationbench)" in markdown


def test_a_browser_shows_every_case_with_its_pictures(run, chromium, tmp_path):
    finish(run, True)
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", (run.root / "report.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    shown = re.sub(r'<script type="application/json".*?</script>', "", shown, flags=re.S)
    assert shown.count('<section class="case">') == 4
    assert shown.count('class="reference"') == 2 * 5 + 2 * 2  # all photos of every object
    assert shown.count("<img ") == 14 + 4 * 3 * 2
    assert shown.count('<tr class="difference">') == 3 * 2
    assert "4 of 4 cases" in shown and shown.count("<i style=") == (2 * 2 + 2 * 1) * 3 * 2  # boxes


def vote(choice, case="pair-0", voter="ann", first="mine", second="collage"):
    return Vote(voter, case, 0, first, second, choice)


def test_votes_are_counted_once_a_voter_and_pair_whichever_stood_first(tmp_path):
    path = tmp_path / "votes.jsonl"
    for one in (
        vote("second"),
        vote("first"),  # ann thought again
        vote("tie", voter="bob"),
        vote("first", "pair-1", first="collage", second="mine"),
    ):
        add_vote(path, one)
    votes = read_votes(path)
    assert votes.preference("mine", "collage") == {"pair-0": 0.75, "pair-1": 0.0}
    assert votes.preference("collage", "mine") == {"pair-0": 0.25, "pair-1": 1.0}
    told = "collage preferred over mine: 0.62 [0.25, 1.00] of votes, ties half (3 votes of 2"
    assert votes.lines()[0].startswith(told)
    with pytest.raises(ValueError, match="`choice` must be one of first, second, tie, got 'left'"):
        add_vote(path, vote("left"))


def test_a_torn_vote_is_left_out_and_told_and_a_wrong_one_refused(tmp_path):
    path = tmp_path / "votes.jsonl"
    add_vote(path, vote("first"))
    path.write_text(path.read_text(encoding="utf-8") + '{"voter": "bo', encoding="utf-8")
    votes = read_votes(path)
    assert len(votes.votes) == 1 and "torn off" in votes.notes[0]
    add_vote(path, vote("second", voter="cy"))
    assert [v.voter for v in read_votes(path).votes] == ["ann", "cy"]
    path.write_text('{"voter": "x"}\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ValueError, match="line 1 is no vote"):
        read_votes(path)


def test_a_last_vote_without_its_end_of_line_is_a_vote(tmp_path):
    """As editors leave it; the next vote neither joins nor removes it."""
    path = tmp_path / "votes.jsonl"
    add_vote(path, vote("first", voter="ann"))
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
    assert [v.voter for v in read_votes(path).votes] == ["ann"] and not read_votes(path).notes
    add_vote(path, vote("second", voter="bob"))
    assert [v.voter for v in read_votes(path).votes] == ["ann", "bob"]


def test_votes_of_several_servers_are_all_kept(tmp_path):
    path = tmp_path / "votes.jsonl"
    code = (
        "import sys; from pathlib import Path; from relationbooth_pipeline.evaluation.report import Vote, add_vote\n"
        "for n in range(40): add_vote(Path(sys.argv[1]), Vote(sys.argv[2], f'pair-{n}', 0, 'mine', 'collage', 'tie'))"
    )
    servers = [subprocess.Popen([sys.executable, "-c", code, path, voter]) for voter in ("ann", "bob")]
    assert [server.wait(120) for server in servers] == [0, 0]
    assert len(read_votes(path).votes) == 80


@pytest.fixture
def serving(run):
    """Address of a ballot."""
    server = ballot(run.root, "mine", "collage", None, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Content-Length": "-1"},
    {"Content-Length": "much"}, {"Content-Length": "5000"},
])  # fmt: skip
def test_other_sites_neither_vote_nor_read(serving, run, headers):
    form = {"voter": "evil", "case": run.cases.cases[0].id, "number": 0, "side": "left"}
    request = urllib.request.Request(serving, urllib.parse.urlencode(form).encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 403 and not (run.root / "votes.jsonl").exists()
    if "Host" in headers:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(serving, headers=headers))


def test_the_ballot_loads_nothing_from_elsewhere(serving):
    answer = urllib.request.urlopen(serving)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "script" not in policy
    assert answer.headers["Cache-Control"] == "no-store"


def test_sides_are_mixed_and_stay(run):
    ballot = Ballot(run.root, run.cases, 2, "mine", "collage")
    for voter in ("ann", "bob"):
        sides = [ballot.on_the_left(voter, case, number) for case, number in ballot.pairs]
        assert sides == [ballot.on_the_left(voter, case, number) for case, number in ballot.pairs]
    many = [ballot.on_the_left(f"voter {i}", *ballot.pairs[0]) for i in range(200)]
    assert 70 < many.count("mine") < 130


def test_a_person_clicks_through_and_the_votes_enter_the_page(run):
    server = ballot(run.root, "mine", "collage", None, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        text = urllib.request.urlopen(address).read().decode()
        assert "Your name?" in text
        text = urllib.request.urlopen(address + "?voter=ann").read().decode()
        count = 0
        while "Thank you" not in text:
            words = re.sub(r"base64,[^\"]*", "", text)
            assert "mine" not in words and "collage" not in words
            fields = dict(re.findall(r'name="(voter|case|number)" value="([^"]*)"', text))
            side = "left" if server.RequestHandlerClass.ballot.on_the_left(
                "ann", next(c for c in run.cases.cases if c.id == fields["case"]), int(fields["number"])
            ) == "mine" else "right"  # fmt: skip
            body = urllib.parse.urlencode({**fields, "side": side}).encode()
            text, count = urllib.request.urlopen(address, body).read().decode(), count + 1
        assert count == 8
        for body in (b"voter=ann&case=nobody&number=0&side=left", b"case=pair-0&number=0&side=left", b"x" * 5000):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(address, body)
    finally:
        server.shutdown()
        server.server_close()
    finish(run, False)
    assert "collage preferred over mine: 0.00 [0.00, 0.00]" in (run.root / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [("mine", "mine", "must be two systems, got 'mine' twice"), ("mine", "flux", "'flux' lacks 8 of 8 pictures")],
)
def test_a_ballot_of_one_or_of_missing_pictures_is_refused(run, first, second, message):
    with pytest.raises(ValueError, match=message):
        ballot(run.root, first, second, None, 0)
