"""A page on this machine that shows every candidate, and keeps what a person decides about it."""

from .desk import Desk
from .server import review_server

__all__ = ["Desk", "review_server"]
