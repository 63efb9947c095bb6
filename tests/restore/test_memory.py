"""Decoded pixels: pictures that do not fit wait for those that are decoded."""

from __future__ import annotations

import threading

from ufvnet.restore.memory import LARGE_FILE, PixelBudget


def test_what_fits_together_is_decoded_together_and_the_rest_waits() -> None:
    budget, inside, leave = PixelBudget(100), threading.Semaphore(0), threading.Event()

    def decode(pixels: int) -> None:
        with budget.picture(0) as reserve:
            reserve(pixels)
            inside.release()
            leave.wait(10)

    threads = [threading.Thread(target=decode, args=(pixels,)) for pixels in (60, 40, 30)]
    for thread in threads[:2]:
        thread.start()
        assert inside.acquire(timeout=10)
    threads[2].start()
    assert not inside.acquire(timeout=0.2)
    leave.set()
    assert inside.acquire(timeout=10)
    for thread in threads:
        thread.join()


def test_a_picture_larger_than_the_budget_is_decoded_alone_and_reserves_once() -> None:
    budget = PixelBudget(100)
    for _ in range(2):
        with budget.picture(LARGE_FILE + 1) as reserve:
            reserve(1000)
            reserve(1000)


def test_a_picture_that_fails_gives_its_pixels_back() -> None:
    budget = PixelBudget(100)
    for _ in range(3):
        try:
            with budget.picture(0) as reserve:
                reserve(100)
                raise OSError
        except OSError:
            pass
