"""Room in memory: pictures that do not fit wait for those that are decoded."""

from __future__ import annotations

import threading

from ufvnet.restore.folder.room import LARGE_FILE, Room


def test_what_fits_together_is_decoded_together_and_the_rest_waits() -> None:
    room, inside, leave = Room(100), threading.Semaphore(0), threading.Event()

    def visit(pixels: int) -> None:
        with room.visit(0) as take:
            take(pixels)
            inside.release()
            leave.wait(10)

    threads = [threading.Thread(target=visit, args=(pixels,)) for pixels in (60, 40, 30)]
    for thread in threads[:2]:
        thread.start()
        assert inside.acquire(timeout=10)
    threads[2].start()
    assert not inside.acquire(timeout=0.2)
    leave.set()
    assert inside.acquire(timeout=10)
    for thread in threads:
        thread.join()


def test_a_picture_larger_than_all_room_enters_alone_and_a_visit_takes_once() -> None:
    room = Room(100)
    for _ in range(2):
        with room.visit(LARGE_FILE + 1) as take:
            take(1000)
            take(1000)


def test_a_visit_that_fails_leaves_its_room() -> None:
    room = Room(100)
    for _ in range(3):
        try:
            with room.visit(0) as take:
                take(100)
                raise OSError
        except OSError:
            pass
