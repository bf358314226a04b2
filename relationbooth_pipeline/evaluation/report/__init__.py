"""What people look at: a page with pictures and figures, and a blind comparison whose votes enter it."""

from .page import MARKDOWN, PAGE, RESULTS, write_report
from .votes import VOTES, Vote, Votes, add_vote, read_votes

__all__ = ["MARKDOWN", "PAGE", "RESULTS", "VOTES", "Vote", "Votes", "add_vote", "read_votes", "write_report"]
