from train_app.stages.adversarial.replay import Replay


def test_the_oldest_samples_leave_first() -> None:
    replay = Replay(3)
    replay.add([(index, (index,)) for index in range(5)])
    assert [index for index, _ in replay.samples] == [2, 3, 4]


def test_a_replay_rebuilt_from_its_samples_draws_the_same() -> None:
    replay = Replay(50)
    replay.add([(index, (index, index)) for index in range(40)])
    again = Replay(50, replay.samples)
    assert replay.draw(10, seed=7) == again.draw(10, seed=7)
    assert replay.draw(10, seed=7) != replay.draw(10, seed=8)


def test_drawing_more_than_there_is_gives_all() -> None:
    assert Replay(5).draw(3, seed=1) == []
    assert len(Replay(5, [(0, (1,))]).draw(3, seed=1)) == 1
