"""From logits to answers, and the counting of right ones."""

from __future__ import annotations

import pytest
import torch

from gaisnet.executor.frames import FrameError
from gaisnet.executor.inference.answers import (
    Score,
    answers_of,
    next_tokens,
    score,
    score_continuations,
)
from gaisnet.executor.inference.port import Port, SessionLostError, Turn
from gaisnet.executor.inference.sessions import Sessions
from gaisnet.models import make_stage
from tests.executor.serving import UNITS, known


def test_the_answer_is_the_likeliest_class_or_token():
    classes, tokens = torch.tensor([2, 0, 1]), torch.tensor([[3, 1]])
    assert torch.equal(answers_of("image_classification", torch.eye(3)[classes]), classes)
    assert torch.equal(answers_of("masked_lm", torch.eye(4)[tokens]), tokens)
    assert next_tokens(torch.eye(4)[tokens]).tolist() == [1]


def test_a_single_output_is_a_value_and_features_are_their_mean():
    values, hidden = torch.tensor([[0.3], [-1.0]]), torch.arange(12.0).view(1, 3, 4)
    assert torch.equal(answers_of("sequence_classification", values), values)
    assert answers_of("features", hidden).tolist() == [[4.0, 5.0, 6.0, 7.0]]
    assert answers_of("features", hidden[:, 0]).tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_classes_are_counted():
    found = score("image_classification", torch.tensor([1, 2, 3]), torch.tensor([1, 0, 3]))
    assert found == Score(hits=2, count=3)


def test_a_causal_models_answer_is_for_the_next_token():
    labels = torch.tensor([[5, 2, 0, -100]])
    assert score("causal_lm", torch.tensor([[2, 0, 4, 4]]), labels) == Score(2, 2)
    assert score("masked_lm", torch.tensor([[2, 0, 0, 4]]), labels) == Score(1, 3)


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        (torch.zeros(3, 1), torch.zeros(3)),
        (torch.tensor([1, 0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])),
    ],
)
def test_values_and_several_classes_at_once_have_no_right_or_wrong(answers, labels):
    assert score("sequence_classification", answers, labels) == Score(None, len(labels))


@pytest.mark.parametrize(
    ("generated", "hits"),
    [([7, 8, 9], 2), ([7, 8, 9, 4, 5], 2), ([7], 1), ([8, 7, 9], 0)],
)
def test_a_token_that_was_not_generated_is_wrong(generated, hits):
    wanted = torch.tensor([[7, 8, -100, 1]])
    assert score_continuations(torch.tensor([generated]), wanted) == Score(hits, 3)


def port(device: str = "box", run: str = "run") -> Port:
    return Port(device, run, known("gpt2"))


def test_a_frame_tells_its_turn():
    hidden, turn = torch.randn(2, 3, 16), Turn(4, "chat.4", 7)
    receiver, frame = port("phone").hidden(
        "box", turn, hidden, {"attention_mask": torch.ones(2, 3)}
    )
    opened, found, side = port().open_hidden(frame)
    assert receiver == "box"
    assert opened == turn
    assert torch.equal(found, hidden)
    assert set(side) == {"attention_mask"}


@pytest.mark.parametrize("reader", [port("tablet"), port(run="other")])
def test_frames_for_others_are_refused(reader):
    _, frame = port("phone").hidden("box", Turn(0), torch.randn(1, 2, 16), {})
    with pytest.raises(FrameError, match="came to"):
        reader.open_hidden(frame)


def test_frames_of_another_kind_are_refused():
    _, frame = port("phone").hidden("box", Turn(0), torch.randn(1, 2, 16), {})
    with pytest.raises(FrameError, match="which expects tokens"):
        port().open_answers(frame)
    _, empty = port("phone").frame("tokens", "box", {}, Turn(0))
    with pytest.raises(FrameError, match="without answers"):
        port().open_answers(empty)


def test_a_session_begins_at_its_first_token_only():
    stage = make_stage(known("gpt2"), 0, UNITS - 1)
    sessions = Sessions(stage)
    assert sessions.of(Turn(0)) is None
    with pytest.raises(SessionLostError, match="units 0 to 5 have no cache of session chat"):
        sessions.of(Turn(0, "chat", 3))
    opened = sessions.of(Turn(0, "chat", 0))
    stage({"input_ids": torch.tensor([[7, 8, 9]])}, session=opened)
    assert sessions.of(Turn(0, "chat", 3)) is opened
    assert sessions.bytes == opened.bytes > 0
    with pytest.raises(SessionLostError, match="have a cache of 3 tokens"):
        sessions.of(Turn(0, "chat", 2))
    assert sessions.of(Turn(0, "chat", 0)) is not opened
    sessions.end("chat")
    assert len(sessions) == 0
