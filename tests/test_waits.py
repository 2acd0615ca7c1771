"""No wait without a bound anywhere: each names its own, or its reason stands here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gaisnet"

METHODS = frozenset(
    {"accept", "acquire", "communicate", "exception", "get", "join", "result", "wait"}
)
"""Of queues, threads, locks, events, futures, processes and sockets: called without arguments
they wait for ever."""
FUNCTIONS = frozenset(
    {
        "asyncio.gather", "asyncio.wait", "futures.as_completed", "futures.wait", "ray.get",
        "ray.wait", "select.select", "socket.create_connection", "subprocess.call",
        "subprocess.check_call", "subprocess.check_output", "subprocess.run", "urlopen",
    }
)  # fmt: skip
"""They wait for ever unless ``timeout`` is among the keywords."""
SOCKETS = frozenset({"accept", "recv", "recv_into"})
"""Bounded by ``settimeout`` alone, which has to stand in the same file."""

EXPLAINED = {
    "executor/devicelog.py: self.acquire()": "logging's own lock, held while lines are taken",
    "executor/engines/ray/device.py: loop.run_in_executor(self._conductors, _timed, work, frames)":
        "each of its calls has a bound, and it is halted when anything else of the run fails",
    "executor/engines/ray/device.py: loop.run_in_executor(self._pool, self._compute, work, frames)":
        "a computation; whoever asked for it gives the device up when it takes too long",
    "nodes/node.py: self._process.communicate()":
        "a node runs until its user ends it",
    "executor/engines/ray/shelf.py: place.result()": "asyncio's: it raises rather than waits",
    "heap.py: _lock": "held for two calls of the C library",
    "joining.py: node.wait()": "a node runs until its user ends it",
    "links/listen.py: self._socket.accept()": "it answers whoever asks until its user ends it",
    "profiler/fvcore_counter.py: self._elsewhere.submit(_shape_of, func, args, kwargs).result()":
        "one operator on tensors without contents, in this process",
}  # fmt: skip


def unbounded(tree: ast.AST) -> Iterator[str]:
    """What waits in a file and names no bound."""
    limited = [c for c in calls(tree) if name_of(c) == "asyncio.wait_for" and len(c.args) > 1]
    bounded = {id(each) for call in limited for each in (call, *call.args)}
    has_timeout = any(name_of(call).endswith(".settimeout") for call in calls(tree))
    for call in calls(tree):
        if id(call) in bounded or any(each.arg == "timeout" for each in call.keywords):
            continue
        name, last = name_of(call), name_of(call).rpartition(".")[2]
        endless = "." in name and last in METHODS and not (call.args or call.keywords)
        socket = "." in name and last in SOCKETS and not has_timeout
        pooled = last == "run_in_executor"
        if endless or socket or pooled or name in FUNCTIONS or name == "asyncio.wait_for":
            yield ast.unparse(call)
    for node in ast.walk(tree):
        if isinstance(node, ast.With | ast.AsyncWith):
            locks = (ast.unparse(item.context_expr) for item in node.items)
            yield from (lock for lock in locks if lock.lower().endswith("lock"))
        if isinstance(node, ast.Await) and name_of(node.value).endswith(".remote"):
            yield ast.unparse(node)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def found() -> set[str]:
    return {
        f"{path.relative_to(PACKAGE).as_posix()}: {wait}"
        for path in PACKAGE.rglob("*.py")
        for wait in unbounded(ast.parse(path.read_text()))
    }


def test_no_wait_is_without_a_bound_and_every_exception_is_explained():
    assert found() == EXPLAINED.keys()


@pytest.mark.parametrize(
    "wait",
    [
        "ray.get(x)", "ray.wait([x])", "queue.get()", "thread.join()", "event.wait()",
        "lock.acquire()", "process.communicate()", "process.wait()", "future.result()",
        "subprocess.run(['a'])", "socket.create_connection(a)", "listening.accept()",
        "connection.recv(1)", "asyncio.wait({x})", "asyncio.gather(x)", "asyncio.wait_for(x)",
        "select.select(a, b, c)", "loop.run_in_executor(None, f)",
    ],
)  # fmt: skip
def test_the_scan_sees_what_waits_for_ever(wait: str):
    assert list(unbounded(ast.parse(wait))) == [wait]


@pytest.mark.parametrize("text", ["with self._lock: pass", "async def f(): await a.b.remote(c)"])
def test_the_scan_sees_locks_and_rays_own_awaits(text: str):
    assert len(list(unbounded(ast.parse(text)))) == 1


@pytest.mark.parametrize(
    "wait",
    [
        "ray.get(x, timeout=1)", "queue.get(timeout=1)", "thread.join(1)", "event.wait(1)",
        "mapping.get('key')", "', '.join(words)", "asyncio.wait_for(event.wait(), 1)",
        "subprocess.run(['a'], timeout=1)", "connection.settimeout(1); connection.recv(1)",
    ],
)  # fmt: skip
def test_the_scan_lets_bounded_waits_pass(wait: str):
    assert list(unbounded(ast.parse(wait))) == []
