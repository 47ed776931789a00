import queue

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.artifacts.storage import S3Storage, open_storage
from common.errors import StorageUnreachable
from train_app.runtime.tracking import Tracking, listening, read_story
from train_app.stages.state import Progress, TextPair

EVENT = Progress(stage="sft", step=1, total=2, metrics={"loss": 1.5}, texts=(TextPair(product="耳机", real="真", generated="写"),))


def test_a_run_tells_its_story_in_a_file_and_to_whoever_listens(tmp_path) -> None:
    seen, mailbox = [], queue.Queue()
    with listening(mailbox, Tracking(tmp_path, on_progress=seen.append)):
        mailbox.put(EVENT.model_dump_json())
    assert seen == [EVENT]
    assert read_story(tmp_path) == [EVENT]


def test_tensorboard_has_the_notes_too(tmp_path) -> None:
    tracking = Tracking(tmp_path)
    tracking.write(Progress(stage="setting up", step=2, total=2, metrics={"workers": 2.0}, note="2 of 3 workers go on"))
    tracking.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert board.Scalars("setting up/workers")[0].value == 2
    (note,) = board.Tensors("setting up/note/text_summary")
    assert note.tensor_proto.string_val == [b"2 of 3 workers go on"]


def test_a_resumed_run_goes_on_in_the_same_file(tmp_path) -> None:
    for _ in range(2):
        tracking = Tracking(tmp_path)
        tracking.write(EVENT)
        tracking.close()
    assert read_story(tmp_path) == [EVENT, EVENT]
    assert read_story(tmp_path / "nothing") == []


def test_a_line_that_was_not_written_to_its_end_ends_no_run(tmp_path) -> None:
    tracking = Tracking(tmp_path)
    tracking.write(EVENT)
    tracking.close()
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole + whole[:20])
    assert read_story(tmp_path) == [EVENT]
    tracking = Tracking(tmp_path)
    tracking.write(EVENT)
    tracking.close()
    assert read_story(tmp_path) == [EVENT, EVENT]


def test_a_run_in_a_bucket_tells_its_story_there_and_goes_on_with_it_elsewhere(bucket) -> None:
    place = f"s3://{bucket}/runs/one"
    for stage in ("sft", "selection"):
        tracking = Tracking(place)
        tracking.write(EVENT.model_copy(update={"stage": stage}))
        told = [event.stage for event in read_story(place)]
        tracking.close()
    assert told == ["sft", "selection"], "it is there as soon as a stage begins"
    assert [key.partition("/")[0] for key in open_storage(place).list()] == ["metrics.jsonl", "tensorboard", "tensorboard"]
    assert read_story(f"s3://{bucket}/runs/none") == []


def test_a_bucket_that_is_away_for_a_moment_costs_no_run(bucket, monkeypatch) -> None:
    place = f"s3://{bucket}/runs/one"
    put, away = S3Storage.put_file, [True]

    def sometimes(self, key, path):
        if away:
            raise StorageUnreachable("nobody answers")
        put(self, key, path)

    monkeypatch.setattr(S3Storage, "put_file", sometimes)
    tracking = Tracking(place)
    tracking.write(EVENT)
    assert read_story(place) == []
    away.clear()
    tracking.close()
    assert read_story(place) == [EVENT]


def test_a_listener_that_fails_does_not_block_the_run_and_is_told_at_its_end(tmp_path) -> None:
    def refuse(progress: Progress) -> None:
        raise RuntimeError("the disk is full")

    def run() -> None:
        mailbox = queue.Queue()
        with listening(mailbox, Tracking(tmp_path, on_progress=refuse)):
            for _ in range(3):
                mailbox.put(EVENT.model_dump_json())

    with pytest.raises(RuntimeError, match="the disk is full"):
        run()
