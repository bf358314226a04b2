"""Every Python block of every page runs, a page's blocks one after another, with tiny models in place of large ones."""

import ast

import pytest

from tests.docs.pages import blocks, blocks_in

WITH_PYTHON = sorted({block.page for block in blocks_in("python")})


class StandIns(ast.NodeTransformer):
    def __init__(self, repositories: dict[str, str]):
        self.repositories = repositories

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, str):
            node.value = self.repositories.get(node.value, node.value)
        return node


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_blocks_run(page, newcomer, repositories):
    for block in blocks(page):
        if block.language == "python":
            tree = StandIns(repositories).visit(ast.parse(block.text))
            try:
                exec(compile(tree, str(block), "exec"), newcomer)
            except Exception as error:
                raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error


def test_the_pages_show_how_it_is_used():
    text = "".join(block.text for block in blocks_in("python"))
    for name in ("draw_through", "automatic_layout", "block_scales", "roles=", "image_prompt_end", "snapshot_download"):
        assert name in text
