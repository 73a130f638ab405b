"""A describer whose worker is killed before it writes a part, the one that an environment says."""

from __future__ import annotations

import os
import time

from claid_ext.scale.files import Files
from made import MadeDescriber

WRITES = "CLAID_TEST_KILL_AFTER_WRITES"  # of this process; none for never


class Slow(MadeDescriber):
    """As slow as there is time to kill it in; importing it is what arms the trap."""

    def __call__(self, images):
        time.sleep(0.005)
        return super().__call__(images)


def _arm(left: int) -> None:
    write = Files.write

    def killing(files, name, content):
        nonlocal left
        if "/part-" in name:
            if left == 0:
                os.kill(os.getpid(), 9)
            left -= 1
        write(files, name, content)

    Files.write = killing


if number := os.environ.get(WRITES):
    _arm(int(number))
